import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from price_helpers import CE, CURVENET, cells_of, plan_of
from rich.console import Console
from storage_fixtures import DIGEST, EPOCHS, SECONDS, START, finish, row

from curvetune import data
from curvetune.config import BiasConfig, CellConfig, DataConfig
from curvetune.data.limits import train_size
from curvetune.data.source import ClassSizes
from curvetune.data.splits import make_split
from curvetune.errors import DataError
from curvetune.planning.price.estimates import Past, read_past, write_estimate
from curvetune.planning.price.evidence import TEST_IMAGES
from curvetune.planning.price.measured import read_measured
from curvetune.planning.price.price import Machine, Price, price, simulate
from curvetune.planning.resources import LaunchOptions
from curvetune.pricing import keep_estimate
from curvetune.status.price_table import print_price
from curvetune.store import CurveStore
from curvetune.store.history import write_rows
from curvetune.system.machine import gpu_names
from curvetune.system.units import duration

CPU = Machine("cpu", 2)
N = 640  # 5 steps of 128
FORWARD = TEST_IMAGES["digits"] / 3 / 128  # what evaluation counts, in steps


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
    assert train_size(ClassSizes.of(y, y, 10), config, bias) == len(split.train)


def test_a_meta_set_that_leaves_nothing_is_refused_before_anything_starts() -> None:
    with pytest.raises(DataError, match="meta_per_class=3"):
        train_size(ClassSizes((3, 2), (1, 1)), DataConfig(meta_per_class=3), BiasConfig())


# -- past estimates --------------------------------------------------------------------------------


def test_an_estimate_is_compared_with_what_its_cells_took(tmp_path: Path) -> None:
    done, expected = cells_of(seeds=(0, 1))
    finish(tmp_path, done, 50.0, num_samples=N)
    sizes = ClassSizes((100,) * 10, (10,) * 10)
    keep_estimate(plan_of([expected]), sizes, tmp_path, LaunchOptions())
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
    [
        (4.25, "4.2 s"),
        (59.6, "60 s"),
        (600, "10 min"),
        (8000, "2 h 13 min"),
        (4e5, "4 d 15 h"),
        (7500, "2 h 05 min"),
    ],
)
def test_times_are_short(seconds: float, text: str) -> None:
    assert duration(seconds) == text
