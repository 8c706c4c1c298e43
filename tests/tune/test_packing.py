"""`--gpus-per-trial auto`: what is measured, what is decided, and what if memory runs out."""

import contextlib
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import ray
import torch

from curvetune import data
from curvetune.config import CellConfig
from curvetune.data import Dataset
from curvetune.errors import ConfigError, CorruptError, DataError, DivergedError
from curvetune.planning.gpu_share import (
    GIB,
    CellMeasured,
    PerGpu,
    cells_per_gpu,
    describe,
    heaviest,
    mps_runs,
    per_gpu,
    share_of,
)
from curvetune.planning.options import parse_gpus
from curvetune.planning.plan import build_plan
from curvetune.planning.resources import LaunchOptions, fit_slots
from curvetune.planning.space import Space
from curvetune.store import CellStore, CurveStore
from curvetune.training.failures import failure_kind
from curvetune.tune.gpu_memory import covered, data_bytes, measure_on, run_short, short_cell
from curvetune.tune.launch import launch

DIGEST = "d" * 64
PLENTY = PerGpu(cpus=16, cells=40)


def measured(gib: float = 1.0, busy: float = 0.1, total: float = 80.0) -> CellMeasured:
    return CellMeasured(int(gib * GIB), GIB // 2, int(total * GIB), busy)


@pytest.mark.parametrize(
    ("one_cell", "there", "cells"),
    [
        (measured(), PLENTY, 8),  # never more
        (measured(busy=0.0), PLENTY, 8),
        (measured(gib=20), PLENTY, 3),  # 3 x 20.5 GiB are under 90 % of 80, 4 are not
        (measured(gib=79), PLENTY, 1),
        (measured(busy=0.9), PLENTY, 1),  # nothing is left for a second
        (measured(busy=0.6), PLENTY, 2),
        (measured(busy=0.3), PLENTY, 3),
        (measured(), PerGpu(cpus=2.5, cells=40), 2),
        (measured(), PerGpu(cpus=0.5, cells=40), 1),
        (measured(), PerGpu(cpus=16, cells=1.25), 2),
        (measured(), PerGpu(cpus=16, cells=0.5), 1),
    ],
)
def test_cells_are_added_to_a_gpu_until_one_resource_is_used_up(
    one_cell: CellMeasured, there: PerGpu, cells: int
) -> None:
    assert cells_per_gpu(one_cell, there) == cells


@pytest.mark.parametrize("cells", range(1, 9))
def test_as_many_shares_fit_on_a_gpu_as_was_decided(cells: int) -> None:
    box = [{"CPU": 64.0, "GPU": 2.0}]
    assert fit_slots(box, LaunchOptions(gpus_per_trial=share_of(cells))).count == 2 * cells
    in_ray_units = round(share_of(cells) * 10_000)
    assert math.isclose(in_ray_units / 10_000, share_of(cells))
    assert cells * in_ray_units <= 10_000


def test_what_there_is_for_each_gpu_is_that_of_the_poorest_node() -> None:
    nodes = [{"CPU": 64.0, "GPU": 4.0}, {"CPU": 8.0, "GPU": 4.0}, {"CPU": 96.0}]
    assert per_gpu(nodes, LaunchOptions(), 40) == PerGpu(cpus=2, cells=5)
    options = LaunchOptions(cpus_per_trial=2, max_concurrent=4)
    assert per_gpu(nodes, options, 40) == PerGpu(cpus=1, cells=0.5)
    assert per_gpu([{"CPU": 96.0}], LaunchOptions(), 40) is None
    assert PerGpu(cpus=2.9, cells=9).room == 2
    assert PerGpu(cpus=8, cells=1.25).room == 2


def test_the_line_says_what_was_measured_decided_and_why() -> None:
    line = describe(measured(gib=20, busy=0.25), PLENTY)
    assert "\n" not in line
    assert "3 cells share a GPU, limited by memory." in line
    assert "One cell takes 20.5 of 80.0 GiB and runs kernels 25 % of the time" in line
    assert "each cell has a GPU alone, limited by kernel time." in describe(
        measured(busy=0.95), PLENTY
    )


def test_an_mps_daemon_is_seen_by_its_pipe(tmp_path: Path) -> None:
    environment = {"CUDA_MPS_PIPE_DIRECTORY": str(tmp_path)}
    assert not mps_runs(environment)
    (tmp_path / "control").touch()
    assert mps_runs(environment)


def cell(method: dict[str, Any] | None = None, **sections: Any) -> CellConfig:
    return CellConfig.model_validate({"method": method or {"name": "cross-entropy"}, **sections})


def test_the_heaviest_cell_has_the_deepest_net_and_differentiates_through_most_of_it() -> None:
    small, plain = cell({"name": "curvenet"}, model={"name": "resnet8"}), cell()
    skips = [cell({"name": "curvenet", "skip_layers": k}) for k in (3, 0, 1)]
    assert heaviest([small, plain]) == plain
    assert heaviest([small, plain, *skips]) == skips[1]


def test_kernels_that_overlap_count_once() -> None:
    assert covered([(5, 6), (0, 2), (1, 3), (1.5, 2)]) == 4
    assert covered([]) == 0


class Stopwatch:
    """A meter for a device that has no kernels."""

    def __init__(self) -> None:
        self.calls: list[str] = []

    def start(self) -> None:
        self.calls.append("start")

    def stop(self) -> float:
        self.calls.append("stop")
        return 0.25


DIGITS = {"per_class_limit": 40, "test_limit": 50}


@pytest.mark.parametrize(
    "method", [{"name": "curvenet", "removed_losses": 5}, {"name": "mw-net-noise"}]
)
def test_a_short_run_of_a_long_cell_measures_one_epoch_and_leaves_nothing(
    method: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    long = cell(method, data=DIGITS, model={"name": "resnet8"}, bias={"noise_rate": 0.4})
    meter: Any = Stopwatch()
    images, digest = data.load("digits"), data.digest("digits")
    assert run_short(long, digest, images, torch.device("cpu"), meter) == 0.25
    assert meter.calls == ["start", "stop"]
    assert list(tmp_path.rglob("config.json")) == []


def test_a_short_cell_has_64_steps_an_epoch_unless_there_is_less() -> None:
    assert short_cell(cell(data={"name": "cifar10"})).data.train_limit == 64 * 128
    few = cell(data={"name": "cifar10", "train_limit": 1000})
    assert short_cell(few).data.train_limit == 1000


def test_the_whole_data_counts_with_its_padding_and_the_curves() -> None:
    images = data.load("digits")
    plain, curves = cell(data=DIGITS), cell({"name": "curvenet"}, data=DIGITS)
    pixels = sum(
        np.pad(x, ((0, 0), (0, 0), *[(images.pad, images.pad)] * 2)).nbytes
        for x in (images.train.x, images.test.x)
    )
    assert data_bytes(plain, images) == pixels
    losses = np.zeros((len(images.train), curves.probe.epochs), np.float32).nbytes
    logits = np.zeros((len(images.train), 10), np.float32).nbytes
    recorded = losses + losses / 2 + logits  # margins are in 16 bits
    assert data_bytes(curves, images) == pixels + recorded + losses
    both = cell({"name": "curvenet", "curve": "both"}, data=DIGITS)
    assert data_bytes(both, images) == pixels + recorded + 2 * losses


def test_options_take_a_number_or_auto() -> None:
    texts = ("auto", "0.25", "0", "2", None)
    assert [parse_gpus(text) for text in texts] == ["auto", 0.25, 0.0, 2.0, None]
    for text in ("all", "1.5", "-1", "nan", "inf", ""):
        with pytest.raises(ConfigError, match=r"--gpus-per-trial.*allowed are 0 to 1"):
            parse_gpus(text)


def after(cause: Exception) -> Exception:
    """Return an error that was raised on the way out of another, as by the end of a capture."""
    try:
        with contextlib.ExitStack() as stack:
            stack.callback(fail_again)
            raise cause
    except RuntimeError as error:
        return error


def fail_again() -> None:
    raise RuntimeError("operation failed due to a previous error during capture")


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), "oom"),
        (torch.AcceleratorError("CUDA error: out of memory"), "oom"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), "oom"),
        (after(torch.OutOfMemoryError("CUDA out of memory")), "oom"),
        (torch.AcceleratorError("CUDA error: an illegal memory access"), "lost"),
        (DivergedError("the mean loss is nan"), "diverged"),
        (DataError("none is left of class 9"), "bad-data"),
        (CorruptError("short"), "storage"),
        (OSError(28, "No space left on device"), "storage"),
        (RuntimeError("no luck"), "other"),
        (ValueError("the text says out of memory, but no GPU did"), "other"),
    ],
)
def test_a_failure_has_a_kind(error: Exception, kind: str) -> None:
    assert failure_kind(error) == kind


@pytest.fixture(scope="module")
def cluster(fake_gpus: None) -> Iterator[None]:
    ray.init(
        address="local",
        num_cpus=2,
        num_gpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="CRITICAL",
    )
    yield
    ray.shutdown()


@pytest.mark.ray
def test_a_packed_cell_that_runs_out_of_memory_is_run_again_alone(
    cluster: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cells = [CellConfig(seed=seed) for seed in range(4)]
    big, bad = cells[1].cell_id(DIGEST), cells[2].cell_id(DIGEST)

    def run_cell(cell: CellConfig, digest: str, dataset: Any, storage: Path, **named: Any) -> Any:
        cell_id, store = cell.cell_id(digest), CellStore(storage)
        share = ray.get_runtime_context().get_assigned_resources()["GPU"]
        folder = store.folder(cell_id)
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "shares.txt").open("a") as file:
            file.write(f"{share:g} {named.get('info')}\n")
        if cell_id == big and share < 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        if cell_id == bad:
            raise RuntimeError("no luck")
        return store.publish(cell_id, named.get("info") or {}, files=())

    def measure(cell: CellConfig, digest: str, dataset: Any) -> CellMeasured:
        assert len(ray.get_gpu_ids()) == 1
        assert (cell in cells, digest, dataset) == (True, DIGEST, "images")
        return CellMeasured(
            GIB, GIB, 80 * GIB, busy=0.1
        )  # 8 of them fit, but there are 2 for a GPU

    options = LaunchOptions(gpus_per_trial="auto", cpus_per_trial=0.2)
    store = CellStore(tmp_path)
    plan = build_plan(
        Space("packed", tuple(cells)),
        DIGEST,
        is_done=lambda _: False,
        has_probe=CurveStore(tmp_path).has,
    )
    assert launch(plan, "images", tmp_path, options, run_cell=run_cell, measure=measure)

    tries = {c.cell_id: (store.folder(c.cell_id) / "shares.txt").read_text() for c in plan.cells}
    shared = "0.5 {'workers': 2}\n"
    assert tries.pop(big) == f"{shared}1 None\n"
    assert set(tries.values()) == {shared}
    done = {c.cell_id for c in plan.cells if store.result(c.cell_id) is not None}
    assert done == {c.cell_id for c in plan.cells} - {bad}
    failure = store.failure(bad) or {}
    assert (failure["error"], failure["kind"]) == ("RuntimeError: no luck", "other")
    assert [record.message.partition(":")[0] for record in caplog.records] == [
        "--gpus-per-trial auto",
        "1 of 4 cells ran out of memory on a GPU that they shared; each is tried once more with "
        "twice the share",
    ]


@pytest.mark.ray
def test_a_measurement_that_fails_costs_the_packing_but_not_the_grid(
    cluster: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from curvetune.tune.gpu_memory import measured_options

    auto = LaunchOptions(gpus_per_trial="auto")
    whole = LaunchOptions(gpus_per_trial=1.0)
    cells = tuple(CellConfig(seed=seed) for seed in range(4))
    plan = build_plan(
        Space("four", cells), DIGEST, is_done=lambda _: False, has_probe=lambda _: False
    )

    def measure(cell: CellConfig, digest: str, dataset: Any) -> CellMeasured:
        raise DataError("none is left of class 9\nof 10")

    box = [{"CPU": 4.0, "GPU": 2.0}]
    assert measured_options(auto, plan, None, box, measure) == whole
    assert caplog.records[-1].message.endswith("not measured: DataError: none is left of class 9")
    if not torch.cuda.is_available():
        assert measured_options(auto, plan, None, box) == whole
        assert caplog.records[-1].message.endswith("PyTorch finds none there")
    few_cores = [{"CPU": 2.0, "GPU": 2.0}]
    assert measured_options(auto, plan, None, few_cores, measure) == whole
    assert caplog.records[-1].message.endswith("there are no CPUs or no cells for more")
    without = [{"CPU": 2.0}]
    assert measured_options(auto, plan, None, without, measure) == auto
    assert fit_slots(without, auto).gpus == 0


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_real_gpu_is_measured() -> None:
    images: Dataset = data.load("digits")
    curvenet = cell({"name": "curvenet"})
    measured = measure_on(torch.device("cuda"), curvenet, data.digest("digits"), images)
    assert 0 < measured.peak_bytes < measured.total_bytes
    assert 0 < measured.busy <= 1
