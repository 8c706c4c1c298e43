"""The numbers of every method on digits: a change of the code that moves them must say so.

`golden/<method>.json` beside this file holds the mean loss and the accuracy after each epoch of a
small cell.
After a change that is meant to move them, write them anew and say why in CHANGELOG.md:

    python tests/methods/test_golden.py
"""

import json
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
import torch

from curvetune import data
from curvetune.cell import run_cell
from curvetune.config import (
    METHOD_SECTIONS,
    AllocateConfig,
    BiasConfig,
    CellConfig,
    DataConfig,
    ModelConfig,
    ProbeConfig,
)
from curvetune.store import CellStore

GOLDEN = Path(__file__).parent / "golden"
# Relative. Kernels for other processors round differently, and training amplifies that; the gap is
# a small difference of two means.
TOLERANCES = {"loss": 2e-3, "meta_loss": 5e-3, "weight_gap": 5e-2}


# Options of a method that fit so short a cell.
SMALL_OPTIONS: dict[str, dict[str, Any]] = {
    "curvenet": {"removed_losses": 1},
    "dynamic-loss": {"warm_epochs": 1},
}


@lru_cache
def digits() -> data.Dataset:
    return data.load("digits")


def small_cell(name: str) -> CellConfig:
    """Return a cell of two seconds: imbalance, noise, ragged batches, a drop of the rate."""
    options = SMALL_OPTIONS.get(name, {})
    return CellConfig(
        data=DataConfig(name="digits", per_class_limit=20, test_limit=200),
        bias=BiasConfig(imbalance=4, noise="symmetric", noise_rate=0.3),
        model=ModelConfig(name="resnet8", init="kaiming"),
        probe=ProbeConfig(
            epochs=4, cyclic_start=2, half_period=1, batch_size=32, cyclic_batch_size=16
        ),
        allocate=AllocateConfig(epochs=3, lr=0.02, milestones=(2,), warmup=1, batch_size=32),
        method=METHOD_SECTIONS[name](**options),
    )


def numbers(name: str, storage: Path) -> dict[str, list[float | None]]:
    """Return each number by epoch, as a golden file holds them; None where an epoch has none."""
    cell = small_cell(name)
    run_cell(cell, data.digest("digits"), digits(), storage, device=torch.device("cpu"))
    rows = CellStore(storage).history(cell.cell_id(data.digest("digits")))
    return {
        key: [row.get(key) for row in rows] for key in TOLERANCES if any(key in row for row in rows)
    }


LONG = ("cleannet", "o2u-net")  # half a minute each: scripts/test-faults
LATER = [pytest.mark.faults, pytest.mark.slow]


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=LATER if name in LONG else []) for name in METHOD_SECTIONS],
)
def test_the_numbers_of_a_method_are_those_that_were_written_down(
    name: str, tmp_path: Path
) -> None:
    expected: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text())
    found = numbers(name, tmp_path)
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        for value, written in zip(found[key], values, strict=True):
            if written is None:
                assert value is None, key
            else:
                assert value == pytest.approx(written, rel=TOLERANCES[key], abs=1e-6), key


def test_every_golden_file_is_that_of_a_method() -> None:
    assert {path.stem for path in GOLDEN.glob("*.json")} == set(METHOD_SECTIONS)


def _write() -> None:
    torch.set_num_threads(1)
    for name in METHOD_SECTIONS:
        with tempfile.TemporaryDirectory() as storage:
            content = numbers(name, Path(storage))
        (GOLDEN / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n")


if __name__ == "__main__":
    _write()
