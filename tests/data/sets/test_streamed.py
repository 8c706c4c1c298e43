"""A streamed set yields the batches of a resident one, bit for bit, and holds only a few."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from curvetune.batch import Batch
from curvetune.config.plugins import PluginRef, Transform
from curvetune.data.pixels import Positions
from curvetune.data.sets.image_set import ImageSet
from curvetune.data.sets.reading import ArrayPixels, Chosen, reading
from curvetune.data.sets.resident import ResidentSet
from curvetune.data.sets.streamed import StreamedSet
from curvetune.data.source import Dataset, Images
from curvetune.seeding import torch_stream

CPU = torch.device("cpu")
COUNT = 41  # of no batch size a multiple


class Counted(ArrayPixels):
    """Pixels that know which images were read, and by how many readers at this moment."""

    def __init__(self, x: NDArray[np.uint8]) -> None:
        super().__init__(x)
        self.given: list[int] = []
        self.open = 0

    def __getitem__(self, positions: Positions) -> NDArray[np.uint8]:
        self.given += positions.tolist()
        return super().__getitem__(positions)

    def read(self, positions: Positions, batch_size: int) -> Iterator[NDArray[np.uint8]]:
        self.open += 1
        try:
            with ThreadPoolExecutor(1, "reads-ahead") as thread:
                for start in range(0, len(positions), batch_size):
                    part = positions[start : start + batch_size]
                    yield thread.submit(self.__getitem__, part).result()
        finally:
            self.open -= 1


def darker(x: torch.Tensor, numbers: torch.Tensor) -> torch.Tensor:
    return x * numbers[:, :1, None, None] + numbers[:, 1:, None, None]


def transform() -> Transform:
    return Transform(PluginRef(name="toy", version="1", digest="0" * 16), darker, draws=2)


def both(
    seed: int,
    *,
    channels: int = 3,
    size: int = 12,
    pad: int = 3,
    flip: bool = True,
    crop: int | None = None,
    transform: Transform | None = None,
) -> tuple[ResidentSet, StreamedSet, Counted]:
    """Return the same random images as a resident and as a streamed set, and what is read."""
    rng = np.random.default_rng(seed)
    x = rng.integers(256, size=(COUNT, channels, size, size), dtype=np.uint8)
    y = rng.integers(5, size=COUNT)
    none = Images(x[:0], y[:0])
    mean, std = (120.0,) * channels, (60.0,) * channels
    facts = Dataset("toy", none, none, tuple("abcde"), mean, std, pad, flip, crop=crop)
    pixels = Counted(x)
    resident = ResidentSet(x, y, facts, CPU, transform)
    return resident, StreamedSet(pixels, y, facts, CPU, transform), pixels


def stream(seed: int = 0) -> torch.Generator:
    return torch_stream(seed, "test")


def assert_same(expected: list[Batch], found: list[Batch]) -> None:
    assert len(expected) == len(found) > 0
    for one, other in zip(expected, found, strict=True):
        for mine, theirs in zip(one, other, strict=True):
            assert torch.equal(mine, theirs)
            assert mine.dtype == theirs.dtype
            assert mine.stride() == theirs.stride()  # kernels, and so rounding, depend on it


KINDS = [
    {},
    {"channels": 1, "size": 8, "pad": 1, "flip": False},
    {"pad": 0, "flip": False},
    {"pad": 0, "crop": 9},
    {"transform": transform()},
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("augment", [True, False])
def test_batches_are_those_of_a_resident_set(kind: dict[str, object], augment: bool) -> None:
    for seed, size in enumerate((1, 7, 16, COUNT, 100)):
        resident, streamed, pixels = both(seed, **kind)  # type: ignore[arg-type]
        expected = list(resident.batches(size, stream(seed), augment=augment))
        assert_same(expected, list(streamed.batches(size, stream(seed), augment=augment)))
        assert sorted(pixels.given) == list(range(COUNT))  # each was read once


@pytest.mark.parametrize("kind", KINDS)
def test_so_are_those_of_an_order_with_repeats(kind: dict[str, object]) -> None:
    resident, streamed, pixels = both(1, **kind)  # type: ignore[arg-type]
    order = torch.tensor([3, 40, 3, 0, 17, 9, 9])
    pair = [list(one.batches(3, stream(), order=order)) for one in (resident, streamed)]
    assert_same(*pair)
    assert pixels.given == order.tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_evaluation_sees_what_it_sees_of_a_resident_set(kind: dict[str, object]) -> None:
    resident, streamed, _ = both(2, **kind)  # type: ignore[arg-type]
    assert_same(list(resident.ordered(16)), list(streamed.ordered(16)))


@pytest.mark.parametrize("size", [4, 100])
def test_meta_batches_are_the_same_over_many_passes(size: int) -> None:
    resident, streamed, pixels = both(3)
    cycles = [one.cycle(size, stream()) for one in (resident, streamed)]
    assert_same(*([next(cycle) for _ in range(25)] for cycle in cycles))
    with reading(cycles[1]):
        assert pixels.open == 1
    assert pixels.open == 0


def steps(images: ImageSet, generator: torch.Generator, draws: torch.Generator) -> list[Batch]:
    """Return what a method with a second view of every batch sees."""
    found = []
    for batch in images.batches(8, generator):
        found += [batch, Batch(images.view(batch.index, draws), batch.y, batch.index)]
    return found


def test_another_view_of_a_batch_is_the_same_and_reads_nothing() -> None:
    resident, streamed, pixels = both(4)
    expected, found = (steps(one, stream(), stream(1)) for one in (resident, streamed))
    assert_same(expected, found)
    assert sorted(pixels.given) == list(range(COUNT))


@pytest.mark.parametrize("index", [[5], [40, 0, 0, 7], list(range(COUNT))])
def test_any_samples_can_be_viewed_also_before_a_pass(index: list[int]) -> None:
    resident, streamed, pixels = both(5)
    for generator in (stream(), stream(1)):
        asked = torch.tensor(index)
        views = [one.view(asked, generator.clone_state()) for one in (resident, streamed)]
        assert torch.equal(*views)
        next(streamed.batches(8, stream()))  # some of them are at hand the second time
    assert set(index) <= set(pixels.given)


def test_part_of_a_batch_is_viewed_without_reading() -> None:
    resident, streamed, pixels = both(6)
    batch = next(streamed.batches(8, stream()))
    pixels.given.clear()
    index = batch.index[torch.tensor([6, 1, 6])]
    assert torch.equal(streamed.view(index, stream(2)), resident.view(index, stream(2)))
    assert pixels.given == []


def test_a_run_resumed_between_passes_goes_on_as_the_resident_one() -> None:
    resident, streamed, _ = both(7)
    generator = stream()
    list(resident.batches(16, generator))
    state = generator.get_state()
    expected = list(resident.batches(16, generator))
    assert_same(expected, list(streamed.batches(16, torch.Generator().set_state(state))))


def test_a_pass_that_is_left_early_ends_its_reader_and_its_threads() -> None:
    _, streamed, pixels = both(8)
    for left in (streamed.batches(4, stream()), streamed.ordered(4), streamed.cycle(4, stream())):
        with pytest.raises(RuntimeError, match="step"), reading(left) as batches:  # noqa: PT012
            next(batches)
            assert pixels.open == 1
            raise RuntimeError("step")
        assert pixels.open == 0
        assert not [t for t in threading.enumerate() if t.name.startswith("reads-ahead")]


def test_chosen_pixels_are_those_rows_and_read_no_other() -> None:
    x = np.random.default_rng(0).integers(256, size=(10, 3, 4, 4), dtype=np.uint8)
    pixels = Counted(x)
    rows = np.array([9, 2, 5, 2])
    chosen = Chosen(pixels, rows)
    assert chosen.shape == (4, 3, 4, 4)
    assert len(chosen) == 4
    np.testing.assert_array_equal(chosen[np.array([2, 0])], x[[5, 9]])
    read = list(chosen.read(np.array([3, 1, 0]), 2))
    np.testing.assert_array_equal(np.concatenate(read), x[[2, 2, 9]])
    assert [len(batch) for batch in read] == [2, 1]
    assert set(pixels.given) == {9, 2, 5}


@pytest.mark.parametrize(("num_images", "num_labels"), [(3, 2), (0, 0)])
def test_a_streamed_set_refuses_images_without_labels(num_images: int, num_labels: int) -> None:
    x, y = np.zeros((num_images, 3, 8, 8), np.uint8), np.zeros(num_labels, np.int64)
    none = Images(x[:0], y[:0])
    toy = Dataset("toy", none, none, ("a",), (0.0,) * 3, (1.0,) * 3, pad=1, flip=False)
    with pytest.raises(ValueError, match=f"{num_images} images and {num_labels} labels"):
        StreamedSet(ArrayPixels(x), y, toy, CPU)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_set_streamed_to_a_gpu_is_the_resident_one() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(256, size=(COUNT, 3, 12, 12), dtype=np.uint8), np.arange(COUNT)
    none = Images(x[:0], y[:0])
    facts = Dataset("toy", none, none, ("a",), (120.0,) * 3, (60.0,) * 3, pad=2, flip=True)
    device = torch.device("cuda")
    resident = ResidentSet(x, y, facts, device)
    streamed = StreamedSet(ArrayPixels(x), y, facts, device)
    assert_same(*(steps(one, stream(), stream(1)) for one in (resident, streamed)))
    assert_same(*(list(one.ordered(16)) for one in (resident, streamed)))
