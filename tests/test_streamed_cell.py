"""A cell whose images are streamed ends as one whose images are resident: in every file."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_cifar
import torch
from numpy.typing import NDArray
from test_cell import files_of, small_cell

from curvetune import data
from curvetune.cell import run_cell
from curvetune.config import CellConfig, CurveNetConfig
from curvetune.data.pixels import Positions
from curvetune.data.sets.reading import ArrayPixels
from curvetune.data.source import Dataset, Images
from curvetune.grids.catalog import Catalog
from curvetune.plugins.load import load_plugins
from curvetune.store import CellStore, CurveStore
from curvetune.store.files import read_json

ROOT = Path(__file__).parents[1]
DIGEST = data.digest("digits")
CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """The two cores are shared, and sums must not depend on who else is there."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return data.load("digits")


def streamed(cell: CellConfig) -> CellConfig:
    section = cell.data.model_copy(update={"residence": "streamed"})
    return cell.model_copy(update={"data": section})


def with_method(**options: Any) -> CellConfig:
    values = small_cell().model_dump(mode="json") | {"method": options}
    return CellConfig.model_validate(values)


def outcome(storage: Path, cell: CellConfig, digest: str = DIGEST) -> dict[str, Any]:
    """Return every number that a cell and its probe left."""
    done = CellStore(storage).result(cell.cell_id(digest))
    assert done is not None
    kept = ("accuracy", "accuracy_last10", "accuracy_best", "per_class_accuracy", "weight_gap")
    found: dict[str, Any] = {name: done[name] for name in kept}
    folder = CellStore(storage).folder(cell.cell_id(digest))
    names = ["model.safetensors", "samples.safetensors"]
    found |= {name: (folder / name).read_bytes() for name in names}
    if (probe_id := cell.probe_id(digest)) is not None:
        folder = CurveStore(storage).folder(probe_id)
        names = ["curves.npy", "margins.npy", "model.safetensors"]
        found |= {f"probe/{name}": (folder / name).read_bytes() for name in names}
    return found


def both(cell: CellConfig, dataset: Dataset, root: Path, digest: str = DIGEST) -> None:
    """Run a cell in both ways, and hold them to the same end."""
    ends = []
    for name, one in (("resident", cell), ("streamed", streamed(cell))):
        run_cell(one, digest, dataset, root / name, device=CPU)
        ends.append(outcome(root / name, cell, digest))
    assert ends[0] == ends[1]


METHODS: list[dict[str, Any]] = [
    {"name": "cross-entropy"},
    {"name": "curvenet", "removed_losses": 1, "meta_batch_size": 20},
    {"name": "dividemix", "divide_start": 0.5},
    {"name": "co-teaching"},
    {"name": "elr-plus"},
    {"name": "self-learning", "correct_start": 0.5},
    {"name": "dynamic-loss", "meta_batch_size": 20},
]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method["name"])
def test_a_streamed_cell_equals_the_resident_one(
    method: dict[str, Any], digits: Dataset, tmp_path: Path
) -> None:
    both(with_method(**method), digits, tmp_path)


def test_so_does_one_with_a_method_of_a_plugin(digits: Dataset, tmp_path: Path) -> None:
    load_plugins([str(ROOT / "examples" / "own_method" / "soft_labels.py")])
    both(with_method(name="soft-labels"), digits, tmp_path)


def test_so_does_one_on_a_cifar(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    folder = tmp_path / "data"
    for name, count in (("train", 60), ("test", 12)):
        pixels = rng.integers(256, size=(count, 32, 32, 3), dtype=np.uint8)
        contents = [tiny_cifar.encoded(image, "PNG") for image in pixels]
        labels = [k % 3 for k in range(count)]
        tiny_cifar.write_parquet(folder / f"{name}-00000-of-00001.parquet", contents, labels)
    values = with_method(name="curvenet", removed_losses=1, meta_batch_size=9).model_dump(
        mode="json"
    )
    values["data"] = {"name": "cifar10", "meta_per_class": 3}
    cell = CellConfig.model_validate(values)
    both(cell, data.load("cifar10", folder), tmp_path, data.digest("cifar10", folder))


class Elsewhere(ArrayPixels):
    """Pixels that are no array, and that count how many batches were read at once."""

    def __init__(self, x: NDArray[np.uint8]) -> None:
        super().__init__(x)
        self.most = 0

    def __getitem__(self, positions: Positions) -> NDArray[np.uint8]:
        self.most = max(self.most, len(positions))
        return super().__getitem__(positions)

    def read(self, positions: Positions, batch_size: int) -> Iterator[NDArray[np.uint8]]:
        self.most = max(self.most, batch_size)
        return super().read(positions, batch_size)


@pytest.mark.parametrize("residence", ["auto", "resident", "streamed"])
def test_images_that_are_no_array_give_the_same_cell_in_every_residence(
    residence: str, digits: Dataset, tmp_path: Path
) -> None:
    cell = small_cell(CurveNetConfig(removed_losses=1, meta_batch_size=20))
    run_cell(cell, DIGEST, digits, tmp_path / "array", device=CPU)
    train = Images(Elsewhere(np.asarray(digits.train.x)), digits.train.y)
    test = Images(Elsewhere(np.asarray(digits.test.x)), digits.test.y)
    elsewhere = Dataset(
        digits.name,
        train,
        test,
        digits.class_names,
        digits.mean,
        digits.std,
        digits.pad,
        digits.flip,
    )
    section = cell.data.model_copy(update={"residence": residence})
    other = cell.model_copy(update={"data": section})
    run_cell(other, DIGEST, elsewhere, tmp_path / "pixels", device=CPU)
    assert outcome(tmp_path / "array", cell) == outcome(tmp_path / "pixels", cell)
    if residence == "streamed":
        assert isinstance(train.x, Elsewhere)
        assert train.x.most <= 100  # the meta set, 10 of each class, is the most at once


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
from curvetune import data
from curvetune.cell import run_cell
from curvetune.config import CellConfig
from curvetune.data.sets.reading import ArrayPixels
left = int(sys.argv[1])
class Deadly(ArrayPixels):
    def read(self, positions, batch_size):
        global left
        for batch in super().read(positions, batch_size):
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            yield batch
from dataclasses import replace
digits = data.load("digits")
digits = replace(digits, train=replace(digits.train, x=Deadly(digits.train.x)))
cell = CellConfig.model_validate_json(sys.argv[2])
run_cell(cell, sys.argv[3], digits, Path(sys.argv[4]), device=torch.device("cpu"),
         checkpoint_every=2)
"""


@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.parametrize("method", [METHODS[1], METHODS[2]], ids=lambda method: method["name"])
def test_a_streamed_cell_killed_at_random_batches_ends_the_same(
    method: dict[str, Any], digits: Dataset, tmp_path: Path
) -> None:
    cell, draw = with_method(**method), random.Random(7)
    run_cell(cell, DIGEST, digits, tmp_path / "straight", device=CPU)
    deaths = 0
    for left in (draw.randrange(1, 30), draw.randrange(12, 30)):
        text = streamed(cell).model_dump_json()
        words = [str(left), text, DIGEST, str(tmp_path / "killed")]
        process = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", KILLED, *words],
            env=os.environ,
            timeout=120,
            check=False,
        )
        assert process.returncode in (0, -signal.SIGKILL)
        deaths += process.returncode != 0
    assert deaths
    run_cell(streamed(cell), DIGEST, digits, tmp_path / "killed", device=CPU)
    assert outcome(tmp_path / "straight", cell) == outcome(tmp_path / "killed", cell)
    assert files_of(tmp_path / "straight", cell) == files_of(tmp_path / "killed", cell)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.faults
def test_a_streamed_grid_equals_the_resident_one(tmp_path: Path) -> None:
    ends = []
    for name, words in (("resident", []), ("streamed", ["--set", "data.residence=streamed"])):
        storage = tmp_path / name
        process = subprocess.run(
            [
                *(sys.executable, "-m", "curvetune", "grid", "digits", "--profile", "smoke"),
                *("--seeds", "0", "--methods", "cross-entropy,curvenet", "--set", "imbalance=1"),
                *("--set", "noise_rate=0.4", "--storage", str(storage), *words),
            ],
            env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert process.returncode == 0, process.stderr
        assert process.stdout.count("1/1") == 2
        cells = sorted(path.name for path in (storage / "cells").iterdir())
        configs = [Catalog(storage).config(cell_id)[0] for cell_id in cells]
        ends.append({one.cell_id(DIGEST): outcome(storage, one) for one in configs})
    assert len(ends[0]) == 2
    assert ends[0] == ends[1]


def test_where_images_are_is_told_and_is_no_part_of_an_address(
    digits: Dataset, tmp_path: Path
) -> None:
    cell = small_cell()
    other = streamed(cell)
    for name in ("split_id", "probe_id", "cell_id"):
        assert getattr(other, name)(DIGEST) == getattr(cell, name)(DIGEST)
    first = run_cell(cell, DIGEST, digits, tmp_path, device=CPU)
    assert run_cell(other, DIGEST, digits, tmp_path, device=CPU) == first  # it is there already
    stored = read_json(CellStore(tmp_path).folder(first["cell_id"]) / "config.json")
    assert "residence" not in stored["data"]  # so older versions read it
