"""The disk that a grid takes is told before it runs."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from price_helpers import CE, CURVENET, plan_of
from storage_fixtures import DIGEST

from curvetune import data, models
from curvetune.cell import run_cell
from curvetune.config import CellConfig
from curvetune.config.profiles import apply_profile
from curvetune.planning.price.disk import MODEL_BYTES, Disk, disk_of, model_bytes
from curvetune.status.price_table import disk_line
from curvetune.system.units import size_text
from curvetune.training.checkpoint import save_state


@pytest.mark.parametrize("name", MODEL_BYTES)
@pytest.mark.parametrize(("classes", "channels"), [(10, 1), (100, 3)])
def test_the_size_of_a_classifiers_file_is_known(
    tmp_path: Path, name: str, classes: int, channels: int
) -> None:
    model = models.build(name, classes, channels, generator=torch.Generator())
    save_state(tmp_path / "model", {"model": model.state_dict()})
    expected = model_bytes(name, classes)
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


@pytest.mark.parametrize("name", ["dividemix", "elr-plus"])
def test_all_networks_that_are_tested_count(name: str, tmp_path: Path) -> None:
    cell = small({"name": name})
    disk = disk_of(plan_of([cell]), lambda _: 128, classes=10, images=150, slots=1, free=None)
    run_cell(cell, DIGEST, data.load("digits"), tmp_path, device=torch.device("cpu"))
    taken = sum(file.stat().st_size for file in tmp_path.rglob("*") if file.is_file())
    assert taken <= disk.stays <= 1.1 * taken


def test_what_a_probe_records_takes_six_bytes_for_each_sample_and_epoch() -> None:
    cell = CellConfig.model_validate({"method": CURVENET})
    disk = disk_of(plan_of([cell]), lambda _: 45_000, classes=10, images=0, slots=1, free=None)
    assert disk.curves == pytest.approx(45_000 * 300 * (4 + 2), rel=1e-3)
    stored = plan_of([cell], stored=[cell.probe_id(DIGEST)])
    disk = disk_of(stored, lambda _: 45_000, classes=10, images=0, slots=1, free=None)
    assert disk.curves == 0


def test_a_disk_that_is_too_small_is_said() -> None:
    big = Disk(2_000_000_000, 10, 10, 10, 10, 500_000_000, free=1_000_000_000)
    assert big.to_json()["fits"] is False
    assert "only 1 GB free" in disk_line(big)
    assert "1.5 GB too few" in disk_line(big)
    assert disk_line(Disk(1, 1, 1, 1, 1, 1, free=10**9)).endswith("1 GB free")


def test_sizes_are_short() -> None:
    assert size_text(54_000_128) == "54 MB"
    assert size_text(999) == "999 B"
    assert math.isclose(float(size_text(3.21e12).split()[0]), 3.21)
