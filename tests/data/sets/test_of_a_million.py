"""What keeps a million rows small, and changes no bit: pieces, shared labels, curves in a file."""

import gc
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save
from test_streamed_cell import CPU, DIGEST, both, streamed, with_method

from curvetune import data
from curvetune.bias import corrupt, noise_matrix
from curvetune.cell import run_cell
from curvetune.data.augment import padded
from curvetune.data.sets import reading
from curvetune.data.sets.image_set import ImageSet
from curvetune.data.sets.reading import ArrayPixels, Chosen
from curvetune.data.sets.streamed import StreamedSet
from curvetune.data.splits import Split
from curvetune.methods.shared.centred import Centred
from curvetune.store.arrays import load_arrays, save_arrays


def labels(n: int, num_classes: int = 10) -> torch.Tensor:
    return torch.randint(num_classes, (n,), generator=torch.Generator().manual_seed(n))


@pytest.mark.parametrize("count", [7, 64, 65, 200])
@pytest.mark.parametrize("flip", [True, False])
def test_draws_in_pieces_are_those_at_once_and_leave_the_generator_alike(
    count: int, flip: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = []
    for at_once in (64, 10_000):
        monkeypatch.setattr(padded, "AT_ONCE", at_once)
        generator = torch.Generator().manual_seed(count)
        drawn = [padded.draw(count, 4, flip, generator) for _ in range(2)]
        ends.append([[values.int().tolist() for values in draws] for draws in drawn])
        ends[-1].append(torch.rand(3, generator=generator).tolist())
    assert ends[0] == ends[1]


def test_the_draws_of_many_samples_are_those_of_pytorch() -> None:
    count = 3 * padded.AT_ONCE + 5
    drawn = padded.draw(count, 4, True, torch.Generator().manual_seed(1))
    generator = torch.Generator().manual_seed(1)
    top, left = torch.randint(9, (2, count), generator=generator)
    assert torch.equal(drawn.top.long(), top)
    assert torch.equal(drawn.left.long(), left)
    assert torch.equal(drawn.mirrored, torch.rand(count, generator=generator) < 0.5)
    assert drawn.top.dtype == torch.int16


def test_noise_is_drawn_as_all_at_once() -> None:
    y, matrix = labels(200_000).numpy(), noise_matrix("symmetric", 0.4, 10)
    draws = np.random.default_rng(0).random(len(y))
    cumulative = matrix.cumsum(axis=1) / matrix.sum(axis=1, keepdims=True)
    expected = (draws[:, None] >= cumulative[y]).sum(axis=1)
    np.testing.assert_array_equal(corrupt(y, matrix, np.random.default_rng(0)), expected)


@pytest.mark.parametrize("size", [1, 3, 8, 50])
def test_chosen_rows_are_looked_up_a_part_at_a_time(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "AT_ONCE", 8)
    x = np.arange(60, dtype=np.uint8).reshape(60, 1, 1, 1)
    rows, order = np.arange(59, -1, -1), np.random.default_rng(0).permutation(50)
    batches = list(Chosen(ArrayPixels(x), rows).read(order, size))
    assert [len(batch) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    np.testing.assert_array_equal(np.concatenate(batches), x[rows[order]])


def toy_set(y: np.ndarray[Any, Any]) -> ImageSet:
    x = np.zeros((len(y), 1, 8, 8), np.uint8)
    return StreamedSet(ArrayPixels(x), y, data.load("digits"), CPU)


def test_a_streamed_set_shares_its_labels_if_it_may() -> None:
    y = np.arange(10) % 3
    assert np.shares_memory(toy_set(y).y.numpy(), y)
    closed = y.copy()
    closed.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert toy_set(closed).y.tolist() == y.tolist()
    assert toy_set(y.astype(np.int32)).y.dtype == torch.int64


def test_labels_that_are_all_true_are_held_once() -> None:
    y = np.arange(9) % 3
    arrays = {"meta": y[:0], "train": np.arange(9), "y": y, "y_true": y.copy(), "test": y}
    split = Split.from_arrays(arrays)
    assert split.y_true is split.y
    split = Split.from_arrays(arrays | {"y_true": (y + 1) % 3})
    assert split.wrong.all()


NAMES = ["a", "b/c", "ü", 'quoted "', "back\\slash", "line\nend", ""]
KINDS = ["i8", "f4", "?", "f2", "f8", "u1", "i2", "i4", "u8", "i1"]


@pytest.mark.parametrize("seed", range(8))
def test_a_file_of_arrays_is_what_safetensors_makes_of_them(seed: int, tmp_path: Path) -> None:
    draw = np.random.default_rng(seed)
    arrays = {
        name: np.ones(draw.integers(0, 4, draw.integers(0, 4)), draw.choice(KINDS))
        for name in draw.permutation(NAMES)[: 1 + seed]
    }
    path = tmp_path / "a.safetensors"
    save_arrays(path, arrays, {"é": seed})
    found, tree = load_arrays(path)
    assert tree == {"é": seed}
    assert found.keys() == arrays.keys()
    content = path.read_bytes()
    size = int.from_bytes(content[:8], "little")
    metadata = json.loads(content[8 : 8 + size])["__metadata__"]
    assert content == save(arrays, metadata)


@pytest.mark.parametrize("normalise", ["mean", "mean_std"])
@pytest.mark.parametrize(("n", "epochs", "num_classes"), [(70_000, 3, 10), (1_000, 40, 7)])
def test_curves_that_are_centred_in_pieces_are_those_at_once(
    n: int, epochs: int, num_classes: int, normalise: str
) -> None:
    curves, y = torch.rand(n, epochs + 2)[:, 1:-1], labels(n, num_classes)
    counts = torch.bincount(y, minlength=num_classes).float()[:, None]
    zeros = torch.zeros(num_classes, epochs)
    expected = curves - (zeros.index_add(0, y, curves) / counts)[y]
    if normalise == "mean_std":
        variance = zeros.index_add(0, y, expected**2) / counts
        expected = expected / (variance[y].sqrt() + 1e-8)
    found, index = Centred(curves, y, num_classes, normalise), torch.randperm(n)[:500]
    assert found.shape == (n, epochs)
    assert torch.equal(found[index], expected[index])
    assert torch.equal(found[:], expected)


@pytest.mark.parametrize(
    "options",
    [
        {"normalise": "mean_std", "meta_batch_size": 20},
        {"meta": "low_loss", "low_loss_per_class": 4, "meta_batch_size": 20},
        {"curve": "both", "meta_batch_size": 20},
        {"curve": "margin", "drop_last": True, "meta_batch_size": 20},
    ],
)
def test_curvenet_on_curves_in_their_file_is_curvenet(
    options: dict[str, Any], tmp_path: Path
) -> None:
    cell = with_method(name="curvenet", removed_losses=1, **options)
    both(cell, data.load("digits"), tmp_path)


def mapped_from(name: str) -> list[tuple[int, int]]:
    """Return the addresses, from and to, at which files of this name are mapped."""
    lines = Path("/proc/self/maps").read_text().splitlines()
    spans = [line.split()[0].split("-") for line in lines if line.endswith(f"/{name}")]
    return [(int(start, 16), int(end, 16)) for start, end in spans]


def curve_places() -> set[int]:
    """Return where the tensors begin that look like curves of this test's sets."""
    gc.collect()
    tensors = [one for one in gc.get_objects() if issubclass(type(one), torch.Tensor)]
    curves = [one for one in tensors if one.dim() == 2 and one.shape[1] in (3, 4)]
    return {one.untyped_storage().data_ptr() for one in curves if len(one) > 100}


def test_a_streamed_curvenet_holds_no_curves_but_those_in_their_file(tmp_path: Path) -> None:
    cell = streamed(with_method(name="curvenet", removed_losses=1, meta_batch_size=20))
    held: list[int] = []
    mapped: list[bool] = []
    before = curve_places()  # of other tests of this process

    def look(event: dict[str, Any]) -> None:
        if event["stage"] != "allocate":
            return
        places = curve_places() - before
        spans = mapped_from("curves.npy")
        held.append(len(places))
        mapped.extend(any(a <= place < b for a, b in spans) for place in places)

    run_cell(cell, DIGEST, data.load("digits"), tmp_path, device=CPU, on_event=look)
    assert held == [1] * cell.allocate.epochs
    assert all(mapped)
