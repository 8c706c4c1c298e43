"""Short runs measure what no earlier cell tells."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from price_helpers import CE, CURVENET, cells_of, plan_of
from storage_fixtures import DIGEST

from curvetune import data
from curvetune.cell import run_cell
from curvetune.config import CellConfig
from curvetune.planning.price.calibrate import ShortRun, calibrate, cells_to_measure, short_form
from curvetune.planning.price.measured import read_measured
from curvetune.planning.price.price import Machine, price
from curvetune.training.provenance import device_name

CPU = torch.device("cpu")


def test_a_short_run_makes_a_kind_of_cell_known(tmp_path: Path) -> None:
    from curvetune.planning.price.measured import add_calibrated

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
    name = device_name(CPU)

    def run(cell: CellConfig, folder: Path) -> None:
        run_cell(cell, DIGEST, dataset, folder, device=CPU)

    short_run = ShortRun(DIGEST, dataset, "cpu", name, run, sizes)
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
    short_run = ShortRun(DIGEST, data.load("digits"), "cpu", "cpu", lambda *_: None, lambda _: 0)
    assert calibrate(cells_of(CE), short_run, said.append) == []
    assert said[0].startswith("cross-entropy: not measured: ")
