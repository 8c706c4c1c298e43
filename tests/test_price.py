import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from curvetune import data, models
from curvetune.cell import run_cell
from curvetune.cli.price_table import disk_line, duration, print_price, size_text
from curvetune.cli.pricing import gpu_names, keep_estimate
from curvetune.config import BiasConfig, CellConfig, DataConfig
from curvetune.data.splits import make_split, train_size
from curvetune.errors import DataError
from curvetune.profiles import apply_profile
from curvetune.store import CurveStore
from curvetune.store.history import write_rows
from curvetune.train.checkpoint import save_state
from curvetune.tune.disk import MODEL_BYTES, Disk, disk_of
from curvetune.tune.estimates import Past, read_past, write_estimate
from curvetune.tune.evidence import TEST_IMAGES
from curvetune.tune.measured import read_measured
from curvetune.tune.plan import Plan, build_plan
from curvetune.tune.price import Machine, Price, price, simulate
from curvetune.tune.resources import LaunchOptions
from curvetune.tune.short_runs import ShortRun, calibrate, cells_to_measure, short_form
from curvetune.tune.space import Space
from tests.storage_fixtures import DIGEST, EPOCHS, SECONDS, START, finish, make_cells, row

CPU = Machine("cpu", 2)
N = 640  # 5 steps of 128
CE, CURVENET = {"name": "cross-entropy"}, {"name": "curvenet"}
FORWARD = TEST_IMAGES["digits"] / 3 / 128  # what evaluation counts, in steps


def cells_of(
    *methods: dict[str, Any], seeds: Sequence[int] = (0,), **rest: Any
) -> list[CellConfig]:
    return make_cells(methods or (CE,), (1,), (0.0,), seeds, **rest)


def plan_of(cells: Sequence[CellConfig], *, stored: Sequence[str | None] = ()) -> Plan:
    return build_plan(
        Space("small", tuple(cells)),
        DIGEST,
        is_done=lambda _: False,
        has_probe=lambda probe_id: probe_id in stored,
    )


def priced(
    root: Path, cells: Sequence[CellConfig], machine: Machine = CPU, *, n: int = N, **known: Any
) -> Price:
    return price(plan_of(cells, **known), machine, read_measured(root).evidence, lambda _: n)


def seconds_of(found: Price) -> list[float | None]:
    return [estimate.seconds for estimate in found.cells.values()]


def store_probe(
    root: Path, cell: CellConfig, seconds: Sequence[float], *, device: str = "cpu", n: int = N
) -> None:
    probe_id = cell.probe_id(DIGEST)
    assert probe_id is not None
    store = CurveStore(root)
    rows = [{**row(k, START), "seconds": value} for k, value in enumerate(seconds)]
    write_rows(store.folder(probe_id) / "history.jsonl", rows)
    info = {
        "identity": cell.probe_identity(DIGEST),
        "seconds": sum(seconds),
        "finished": START,
        "device": device,
        "cell_id": "0" * 16,
    }
    store.write(probe_id, np.zeros((n, len(seconds)), np.float32), info)


# -- time ------------------------------------------------------------------------------------------


def test_a_cell_is_expected_to_take_as_long_as_earlier_ones_of_its_kind(tmp_path: Path) -> None:
    done, new = cells_of(seeds=(0, 1))
    finish(tmp_path, done, 50.0, num_samples=N)
    found = priced(tmp_path, [new])
    assert seconds_of(found) == pytest.approx([EPOCHS * SECONDS])
    (kind,) = found.kinds
    assert (kind.basis, kind.measured, kind.runs) == ("same", 1, 1)
    assert found.to_json()["hours"] == pytest.approx(EPOCHS * SECONDS / 3600)


def test_more_samples_take_more_steps_and_evaluation_takes_as_long_as_before(
    tmp_path: Path,
) -> None:
    done, new = cells_of(seeds=(0, 1))
    finish(tmp_path, done, 50.0, num_samples=N)
    longer = (15 + FORWARD) / (5 + FORWARD)
    assert seconds_of(priced(tmp_path, [new], n=3 * N)) == pytest.approx(
        [EPOCHS * SECONDS * longer]
    )


def test_a_method_that_was_never_run_takes_its_cost_in_steps_of_cross_entropy(
    tmp_path: Path,
) -> None:
    done = cells_of(CE)[0]
    finish(tmp_path, done, 50.0, num_samples=N)
    found = priced(tmp_path, cells_of({"name": "co-teaching"}))
    each = SECONDS * (2 * 5 + FORWARD) / (5 + FORWARD)
    assert seconds_of(found) == pytest.approx([EPOCHS * each])
    assert found.kinds[0].basis == "cross-entropy"


def test_cells_with_the_same_options_count_before_those_with_others(tmp_path: Path) -> None:
    one, other, new = (
        cells_of({"name": "focal", "focal_gamma": gamma}, seeds=(seed,))[0]
        for gamma, seed in ((1.0, 0), (2.0, 0), (1.0, 1))
    )
    finish(tmp_path, other, 50.0, num_samples=N)
    assert priced(tmp_path, [new]).kinds[0].basis == "method"
    finish(tmp_path, one, 50.0, num_samples=N)
    assert priced(tmp_path, [new]).kinds[0].basis == "same"


@pytest.mark.parametrize(
    ("other", "machine"),
    [
        ({}, Machine("NVIDIA H200", 1)),
        ({"model": {"name": "resnet20"}}, CPU),
        ({"allocate": {"epochs": 4, "warmup": 0, "milestones": [2], "batch_size": 64}}, CPU),
    ],
    ids=["device", "classifier", "batch size"],
)
def test_what_was_measured_with_another_one_is_no_measure(
    tmp_path: Path, other: dict[str, Any], machine: Machine
) -> None:
    finish(tmp_path, cells_of(seeds=(0,))[0], 50.0, num_samples=N)
    found = priced(tmp_path, cells_of(seeds=(1,), **other), machine)
    assert seconds_of(found) == [None]
    assert found.to_json()["hours"] is None
    assert found.to_json()["wall_s"] is None
    assert found.unknown == 1


def test_the_first_epoch_is_left_out_since_it_prepares_the_others(tmp_path: Path) -> None:
    done, new = cells_of(seeds=(0, 1))
    finish(tmp_path, done, 50.0, num_samples=N)
    history = tmp_path / "cells" / done.cell_id(DIGEST) / "history.jsonl"
    write_rows(history, [{"seconds": 100.0}, {"seconds": 3.0}, {"seconds": 5.0}])
    assert seconds_of(priced(tmp_path, [new])) == pytest.approx([EPOCHS * 4.0])


def test_a_result_without_its_history_counts_with_its_total(tmp_path: Path) -> None:
    done, new = cells_of(seeds=(0, 1))
    finish(tmp_path, done, 50.0, num_samples=N, seconds={"probe": 0.0, "allocate": 12.0})
    (tmp_path / "cells" / done.cell_id(DIGEST) / "history.jsonl").unlink()
    assert seconds_of(priced(tmp_path, [new])) == pytest.approx([12.0])


def test_both_batch_sizes_of_a_probe_are_measured_apart(tmp_path: Path) -> None:
    probe = {"epochs": 6, "cyclic_start": 3, "half_period": 1}
    done, new = cells_of(CURVENET, seeds=(0, 1), probe=probe)
    longer = cells_of(CURVENET, probe={"epochs": 30, "cyclic_start": 10})[0]
    store_probe(tmp_path, done, [9.0, 2.0, 2.0, 9.0, 7.0, 7.0])
    found = priced(tmp_path, [new])
    assert [p.seconds for p in found.probes.values()] == pytest.approx([3 * 2.0 + 3 * 7.0])
    found = priced(tmp_path, [longer])
    assert [p.seconds for p in found.probes.values()] == pytest.approx([10 * 2.0 + 20 * 7.0])


def test_a_probe_is_cross_entropy_without_evaluation(tmp_path: Path) -> None:
    probe = {"epochs": 4, "cyclic_start": 4}
    finish(tmp_path, cells_of(CE)[0], 50.0, num_samples=N)
    found = priced(tmp_path, cells_of(CURVENET, seeds=(1,), probe=probe))
    expected = 4 * SECONDS * 5 / (5 + FORWARD)
    assert [p.seconds for p in found.probes.values()] == pytest.approx([expected])


def test_cells_that_share_a_gpu_are_told_apart_from_those_that_have_it_alone(
    tmp_path: Path,
) -> None:
    alone, shared, new = cells_of(seeds=(0, 1, 2))
    gpu = {"device": "NVIDIA H200", "num_samples": N}
    finish(tmp_path, alone, 50.0, **gpu)
    finish(tmp_path, shared, 50.0, workers=4, **gpu)
    one = priced(tmp_path, [new], Machine("NVIDIA H200", 1))
    assert seconds_of(one) == pytest.approx([EPOCHS * SECONDS])
    four = priced(tmp_path, [new], Machine("NVIDIA H200", 4, workers=4))
    assert seconds_of(four) == pytest.approx([EPOCHS * SECONDS / 4])
    assert four.wall == pytest.approx(EPOCHS * SECONDS)  # it takes as long, but a quarter of a GPU
    assert four.to_json()["unit"] == "GPU-hours"


def test_damaged_files_are_no_measure(tmp_path: Path) -> None:
    first, second, new = cells_of(seeds=(0, 1, 2))
    for cell in (first, second):
        finish(tmp_path, cell, 50.0, num_samples=N)
    (tmp_path / "cells" / first.cell_id(DIGEST) / "DONE.json").write_text("{")
    (tmp_path / "cells" / second.cell_id(DIGEST) / "config.json").write_text('{"method": 3}')
    assert seconds_of(priced(tmp_path, [new])) == [None]


@pytest.mark.parametrize(
    "result",
    [
        {"num_samples": 0},
        {"num_samples": "many"},
        {"num_samples": N, "seconds": {"allocate": 0.0}},
        {"num_samples": N, "seconds": {"allocate": [1]}},
        {"num_samples": N, "workers": 0},
        {"num_samples": N, "finished": None},
    ],
)
def test_a_result_that_says_nonsense_is_no_measure(tmp_path: Path, result: dict[str, Any]) -> None:
    done, new = cells_of(seeds=(0, 1))
    finish(tmp_path, done, 50.0, **result)
    assert seconds_of(priced(tmp_path, [new])) == [None]


@pytest.mark.parametrize(
    "content",
    ["[]", '{"samples": 3}', '{"samples": [3, {}, {"phase": {}, "device": 3}]}', "[" * 5000],
)
def test_short_runs_that_say_nonsense_are_left_out(tmp_path: Path, content: str) -> None:
    (tmp_path / "estimates").mkdir()
    (tmp_path / "estimates" / "calibrated.json").write_text(content)
    (tmp_path / "estimates" / "grid-1.json").write_text(content)
    assert read_measured(tmp_path).evidence.devices() == {}
    assert read_past(tmp_path, read_measured(tmp_path)).ratios == ()


def test_nothing_is_known_of_an_empty_storage_and_nothing_is_made_up(tmp_path: Path) -> None:
    found = priced(tmp_path / "none", cells_of(CE, CURVENET))
    answer = found.to_json()
    assert (answer["hours"], answer["wall_s"], answer["unknown_runs"]) == (None, None, 3)
    assert answer["hours_known"] == 0
    console = Console(record=True, width=200)
    print_price(found, console)
    said = console.export_text()
    assert "time: unknown on cpu" in said
    assert "--calibrate" in said


# -- wall time, sharing ----------------------------------------------------------------------------


def test_wall_time_counts_that_followers_wait_for_their_probe() -> None:
    cells = [
        CellConfig.model_validate({"method": {"name": "curvenet", "skip_layers": k}})
        for k in range(4)
    ]
    plan = plan_of(cells)
    seconds = {probe.probe_id: 10.0 for probe in plan.probes}
    seconds |= {cell.cell_id: 3.0 for cell in plan.cells}
    # one leads for 10 s; then four final trainings of 3 s
    assert simulate(plan, seconds, 1) == pytest.approx(10 + 4 * 3)
    assert simulate(plan, seconds, 2) == pytest.approx(10 + 2 * 3)
    assert simulate(plan, seconds, 4) == pytest.approx(10 + 3)
    stored = plan_of(cells, stored=[cells[0].probe_id(DIGEST)])
    assert simulate(stored, seconds, 2) == pytest.approx(2 * 3)


def test_what_sharing_saves_is_every_probe_but_the_first(tmp_path: Path) -> None:
    cells = [
        cells_of({"name": "curvenet", "skip_layers": k}, probe={"epochs": 4, "cyclic_start": 4})[0]
        for k in range(4)
    ]
    store_probe(tmp_path, cells[0].model_copy(update={"seed": 9}), [2.0] * 4)
    sharing = priced(tmp_path, cells).sharing
    assert (sharing.cells, sharing.probes, sharing.saved) == (4, 1, 3)
    assert sharing.seconds == pytest.approx(3 * 4 * 2.0)


def test_cells_whose_probe_is_stored_are_cached() -> None:
    cells = cells_of(CE, CURVENET)
    counts = plan_of(cells, stored=[cells[1].probe_id(DIGEST)]).counts()
    assert (counts["cells_to_run"], counts["cells_cached"], counts["cells_done"]) == (2, 1, 0)


# -- the size of a training set --------------------------------------------------------------------


@pytest.mark.parametrize("imbalance", [1.0, 3.0, 20.0])
@pytest.mark.parametrize("limits", [{}, {"per_class_limit": 40}, {"train_limit": 100}])
def test_the_size_of_a_split_is_known_without_making_it(
    imbalance: float, limits: dict[str, int]
) -> None:
    y = data.load("digits").train.y
    config = DataConfig(name="digits", **limits)  # type: ignore[arg-type]
    bias = BiasConfig(imbalance=imbalance)
    split = make_split(y, y, config, bias, 0, 10)
    assert train_size(y, config, bias) == len(split.train)


def test_a_meta_set_that_leaves_nothing_is_refused_before_anything_starts() -> None:
    with pytest.raises(DataError, match="meta_per_class=3"):
        train_size(np.array([0, 0, 0, 1, 1]), DataConfig(meta_per_class=3), BiasConfig())


# -- disk ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", MODEL_BYTES)
@pytest.mark.parametrize(("classes", "channels"), [(10, 1), (100, 3)])
def test_the_size_of_a_classifiers_file_is_known(
    tmp_path: Path, name: str, classes: int, channels: int
) -> None:
    model = models.build(name, classes, channels, generator=torch.Generator())
    save_state(tmp_path / "model", {"model": model.state_dict()})
    expected = MODEL_BYTES[name] + 260 * (classes - 10)
    assert (tmp_path / "model").stat().st_size == pytest.approx(expected, rel=0.01)


def small(method: dict[str, Any]) -> CellConfig:
    base = {"model": {"name": "resnet8"}, "allocate": {"batch_size": 32}, "method": method}
    cell = CellConfig.model_validate({**base, "data": {"train_limit": 128, "test_limit": 50}})
    return apply_profile(cell, "smoke")


def test_a_grid_takes_about_the_bytes_that_were_foretold(tmp_path: Path) -> None:
    dataset, cells = data.load("digits"), [small(CE), small({**CURVENET, "meta_batch_size": 32})]
    plan = plan_of(cells)
    disk = disk_of(plan, lambda _: 128, classes=10, images=50 + 100, slots=1, free=None)
    for cell in cells:
        run_cell(cell, DIGEST, dataset, tmp_path, device=torch.device("cpu"))
    taken = sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file())
    assert taken <= disk.stays <= 1.1 * taken


def test_curves_take_four_bytes_for_each_sample_and_epoch() -> None:
    cell = CellConfig.model_validate({"method": CURVENET})
    disk = disk_of(plan_of([cell]), lambda _: 45_000, classes=10, images=0, slots=1, free=None)
    assert disk.curves == pytest.approx(45_000 * 300 * 4, rel=1e-3)
    stored = plan_of([cell], stored=[cell.probe_id(DIGEST)])
    disk = disk_of(stored, lambda _: 45_000, classes=10, images=0, slots=1, free=None)
    assert disk.curves == 0


def test_a_disk_that_is_too_small_is_said() -> None:
    big = Disk(2_000_000_000, 10, 10, 10, 10, 500_000_000, free=1_000_000_000)
    assert big.to_json()["fits"] is False
    assert "only 1 GB free" in disk_line(big)
    assert "1.5 GB too few" in disk_line(big)
    assert disk_line(Disk(1, 1, 1, 1, 1, 1, free=10**9)).endswith("1 GB free")


# -- past estimates --------------------------------------------------------------------------------


def test_an_estimate_is_compared_with_what_its_cells_took(tmp_path: Path) -> None:
    done, expected = cells_of(seeds=(0, 1))
    finish(tmp_path, done, 50.0, num_samples=N)
    keep_estimate(plan_of([expected]), np.repeat(np.arange(10), 100), tmp_path, LaunchOptions())
    assert read_past(tmp_path, read_measured(tmp_path)).ratios == ()  # nothing has ended yet
    (file,) = (tmp_path / "estimates").glob("small-*.json")
    (foretold,) = json.loads(file.read_text())["devices"]["cpu"]["cells"].values()
    seconds = {"probe": 0.0, "allocate": 2 * foretold}
    finish(tmp_path, expected, 50.0, num_samples=N, seconds=seconds, finished=4e9)
    assert read_past(tmp_path, read_measured(tmp_path)).ratios == pytest.approx((2.0,))


def test_an_estimate_says_nothing_of_other_devices_and_of_what_was_done_before(
    tmp_path: Path,
) -> None:
    earlier, elsewhere = cells_of(seeds=(0, 1))
    finish(tmp_path, earlier, 50.0, num_samples=N)
    finish(tmp_path, elsewhere, 50.0, num_samples=N, device="NVIDIA H200", finished=4e9)
    ids = {cell.cell_id(DIGEST): 1.0 for cell in (earlier, elsewhere)}
    write_estimate(tmp_path, "small", {"cpu": (ids, {})})
    assert read_past(tmp_path, read_measured(tmp_path)).ratios == ()


def test_past_estimates_are_summed_up() -> None:
    assert Past((1.2, 0.9, 1.0)).to_json() == {
        "n": 3,
        "median_ratio": 1.0,
        "least_ratio": 0.9,
        "most_ratio": 1.2,
    }
    assert Past(()).to_json()["median_ratio"] is None


# -- short runs ------------------------------------------------------------------------------------


def test_a_short_run_makes_a_kind_of_cell_known(tmp_path: Path) -> None:
    from curvetune.tune.measured import add_calibrated

    dataset = data.load("digits")
    base: dict[str, Any] = {
        "model": {"name": "resnet8"},
        "allocate": {"batch_size": 32},
        "probe": {"batch_size": 32, "cyclic_batch_size": 16},
        "method": {"name": "curvenet", "meta_batch_size": 32},
    }
    cell = CellConfig.model_validate(base)
    plan = plan_of([cell])
    before = price(plan, Machine("cpu", 1), read_measured(tmp_path).evidence, lambda _: 1197)
    assert cells_to_measure(plan, before) == [cell]
    sizes: Callable[[CellConfig], int] = lambda c: c.data.train_limit or 1197  # noqa: E731
    said: list[str] = []
    short_run = ShortRun(DIGEST, dataset, torch.device("cpu"), sizes)
    add_calibrated(tmp_path, calibrate([cell], short_run, said.append))
    assert len(said) == 1
    (device,) = read_measured(tmp_path).evidence.devices()
    after = price(plan, Machine(device, 1), read_measured(tmp_path).evidence, sizes)
    assert after.unknown == 0
    assert {kind.basis for kind in after.kinds} == {"calibrated"}
    assert cells_to_measure(plan, after) == []


def test_a_short_form_has_the_batch_sizes_of_the_whole_and_two_epochs_of_each_kind() -> None:
    cell = CellConfig.model_validate({"method": CURVENET, "bias": {"imbalance": 50}})
    short = short_form(cell, 40_000, 16, data.load("digits"))
    assert [short.probe.batch_size_at(k) for k in range(short.probe.epochs)] == [128, 128, 16, 16]
    assert (short.allocate.epochs, short.allocate.first_drop) == (4, 2)
    assert short.allocate.batch_size == cell.allocate.batch_size
    assert short.data.train_limit == 16 * 128
    assert short.data.test_limit == round(500 * 16 * 128 / 40_000)


def test_a_kind_of_cell_that_cannot_be_run_is_told_of() -> None:
    said: list[str] = []
    short_run = ShortRun(DIGEST, data.load("digits"), torch.device("cpu"), lambda _: 0)
    assert calibrate(cells_of(CE), short_run, said.append) == []
    assert said[0].startswith("cross-entropy: not measured: ")


# -- the machine, and what people read -------------------------------------------------------------


def test_gpus_are_found_without_pytorch(tmp_path: Path) -> None:
    for name in ("0000:01:00.0", "0000:02:00.0"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "information").write_text("Model: \t\t NVIDIA H200\nIRQ: 1\n")
    assert gpu_names(tmp_path, {}) == ["NVIDIA H200"] * 2
    assert gpu_names(tmp_path, {"CUDA_VISIBLE_DEVICES": "1"}) == ["NVIDIA H200"]
    assert gpu_names(tmp_path, {"CUDA_VISIBLE_DEVICES": ""}) == []
    assert gpu_names(tmp_path, {"CUDA_VISIBLE_DEVICES": "-1"}) == []


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(4.25, "4.2 s"), (59.6, "60 s"), (600, "10 min"), (8000, "2 h 13 min"), (4e5, "4 d 15 h")],
)
def test_times_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_sizes_are_short() -> None:
    assert size_text(54_000_128) == "54 MB"
    assert size_text(999) == "999 B"
    assert math.isclose(float(size_text(3.21e12).split()[0]), 3.21)
