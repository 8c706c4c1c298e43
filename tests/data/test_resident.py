from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torchvision.transforms import functional as reference

from curvetune.batch import Batch
from curvetune.data.augment import draw, mirror, random_crop, reflect_pad
from curvetune.data.sets.resident import ResidentSet
from curvetune.data.source import Dataset, Images
from curvetune.seeding import torch_stream

CPU = torch.device("cpu")
NAMES = ["cat", "dog", "fox"]


def dataset(*, channels: int = 3, pad: int = 4, flip: bool = True) -> Dataset:
    """Return the facts of a source whose own images do not matter."""
    none = Images(np.empty((0, channels, 8, 8), np.uint8), np.empty(0, np.int64))
    mean, std = (125.3, 123.0, 113.9)[:channels], (63.0, 62.1, 66.7)[:channels]
    return Dataset("toy", none, none, tuple(NAMES), mean, std, pad, flip)


def resident(
    count: int = 40, *, channels: int = 3, size: int = 12, pad: int = 4, flip: bool = True
) -> tuple[ResidentSet, torch.Tensor]:
    """Return a set of random images, whose label is 7 × position, and the images themselves."""
    rng = np.random.default_rng(5)
    x = rng.integers(256, size=(count, channels, size, size), dtype=np.uint8)
    facts = dataset(channels=channels, pad=pad, flip=flip)
    return ResidentSet(x, np.arange(count) * 7, facts, CPU), torch.from_numpy(x)


def stream(seed: int = 0) -> torch.Generator:
    return torch_stream(seed, "test")


def normalised(x: torch.Tensor) -> torch.Tensor:
    channels = x.shape[-3]
    mean, std = (125.3, 123.0, 113.9)[:channels], (63.0, 62.1, 66.7)[:channels]
    return reference.normalize(x.float(), list(mean), list(std))


def equal(a: Sequence[Batch], b: Sequence[Batch]) -> bool:
    return len(a) == len(b) and all(
        torch.equal(u, v)
        for one, other in zip(a, b, strict=True)
        for u, v in zip(one, other, strict=True)
    )


@pytest.mark.parametrize(("channels", "size", "pad", "flip"), [(3, 32, 4, True), (1, 8, 1, False)])
def test_every_sample_is_padded_cropped_and_mirrored_as_torchvision_would(
    channels: int, size: int, pad: int, flip: bool
) -> None:
    images, x = resident(50, channels=channels, size=size, pad=pad, flip=flip)
    order = torch.randperm(50, generator=(generator := stream()))
    top, left, mirrored = draw(50, pad, flip, generator)
    batches = list(images.batches(16, stream()))
    found = torch.cat([batch.x for batch in batches])
    for k, position in enumerate(order):
        padded = reference.pad(x[position], [pad] * 4, padding_mode="reflect")
        expected = reference.crop(padded, int(top[k]), int(left[k]), size, size)
        if mirrored[k]:
            expected = reference.hflip(expected)
        torch.testing.assert_close(found[k], normalised(expected))
    assert mirrored.any() == flip


def test_all_offsets_and_both_sides_are_drawn_alike_and_on_their_own() -> None:
    count = 20_000
    top, left, mirrored = draw(count, 4, True, stream())
    joint = torch.bincount((top * 9 + left) * 2 + mirrored, minlength=162).double()
    # Chi-square with 161 degrees of freedom: mean 161, sd 18; five sd above is 251.
    expected = count / 162
    assert ((joint - expected) ** 2 / expected).sum() < 251


def test_cropping_and_mirroring_leave_the_stored_images_alone() -> None:
    padded = torch.from_numpy(reflect_pad(resident(3)[1].numpy(), 2))
    before = padded.clone()
    x = random_crop(padded, torch.tensor([2, 0]), torch.tensor([0, 4]), torch.tensor([4, 0]), 2)
    flipped = mirror(x, torch.tensor([True, False]))
    flipped.zero_()
    assert torch.equal(padded, before)


@pytest.mark.parametrize("augment", [True, False])
def test_a_pass_yields_every_sample_once_with_its_label_and_position(augment: bool) -> None:
    images, _ = resident(40)
    batches = list(images.batches(16, stream(), augment=augment))
    index = torch.cat([batch.index for batch in batches])
    assert [len(batch.x) for batch in batches] == [16, 16, 8]
    assert sorted(index.tolist()) == list(range(40))
    assert index.tolist() != list(range(40))
    assert torch.equal(torch.cat([batch.y for batch in batches]), index * 7)
    assert len(images) == 40


@pytest.mark.parametrize("channels", [1, 3])
def test_batches_are_float32_channels_last_and_int64(channels: int) -> None:
    images, _ = resident(10, channels=channels)
    for batch in (*images.batches(4, stream()), *images.ordered(4)):
        assert batch.x.dtype == torch.float32
        assert batch.x.is_contiguous(memory_format=torch.channels_last)
        assert (batch.y.dtype, batch.index.dtype) == (torch.int64, torch.int64)


def test_without_augmentation_a_batch_holds_the_images_as_they_are() -> None:
    images, x = resident(20)
    for batch in images.batches(8, stream(), augment=False):
        torch.testing.assert_close(batch.x, normalised(x[batch.index]))


def test_evaluation_sees_the_images_in_order_and_as_they_are() -> None:
    images, x = resident(20)
    batches = list(images.ordered(8))
    assert [len(batch.x) for batch in batches] == [8, 8, 4]
    assert torch.cat([batch.index for batch in batches]).tolist() == list(range(20))
    assert torch.cat([batch.y for batch in batches]).tolist() == [7 * k for k in range(20)]
    torch.testing.assert_close(torch.cat([batch.x for batch in batches]), normalised(x))


def test_every_pass_has_an_order_and_draws_of_its_own() -> None:
    images, _ = resident(20)
    generator = stream()
    first, second = (list(images.batches(20, generator)) for _ in range(2))
    assert not torch.equal(first[0].index, second[0].index)


def test_a_pass_is_a_function_of_the_generator_and_not_of_the_batch_size() -> None:
    images, _ = resident(40)
    small, large = list(images.batches(7, stream())), list(images.batches(40, stream()))
    for k in range(3):
        assert torch.equal(torch.cat([batch[k] for batch in small]), large[0][k])


def test_a_run_resumed_between_passes_goes_on_bit_for_bit() -> None:
    images, _ = resident(40)
    generator = stream()
    list(images.batches(16, generator))
    state = generator.get_state()
    straight = list(images.batches(16, generator))
    restored = torch.Generator()
    restored.set_state(state)
    torch.rand(100)  # the global generator has no say
    assert equal(straight, list(images.batches(16, restored)))


def test_meta_batches_never_end_and_use_each_image_once_in_a_pass() -> None:
    images, _ = resident(10)
    endless = images.cycle(4, stream())
    batches = [next(endless) for _ in range(6)]
    assert [len(batch.x) for batch in batches] == [4] * 6
    passes = [
        torch.cat([a.index, b.index]) for a, b in zip(batches[::2], batches[1::2], strict=True)
    ]
    assert all(len(set(index.tolist())) == 8 for index in passes)
    assert not torch.equal(passes[0], passes[1])
    assert torch.equal(batches[0].y, batches[0].index * 7)


def test_a_meta_batch_is_at_most_the_whole_meta_set() -> None:
    images, _ = resident(10)
    endless = images.cycle(128, stream())
    for _ in range(3):
        assert sorted(next(endless).index.tolist()) == list(range(10))


def test_meta_batches_of_an_epoch_follow_from_the_generators_state_at_its_start() -> None:
    images, _ = resident(10)
    generator = stream()
    first = images.cycle(4, generator)
    for _ in range(5):
        next(first)
    state = generator.get_state()
    straight = images.cycle(4, generator)
    expected = [next(straight) for _ in range(5)]
    again = images.cycle(4, torch.Generator().set_state(state))
    assert equal(expected, [next(again) for _ in range(5)])


def test_a_resident_set_keeps_copies_of_what_it_was_given() -> None:
    x, y = np.full((4, 3, 8, 8), 9, np.uint8), np.array([0, 1, 2, 1])
    images = ResidentSet(x, y, dataset(pad=0), CPU)
    x[:], y[:] = 0, 0
    batch = next(images.ordered(4))
    torch.testing.assert_close(batch.x, normalised(torch.full((4, 3, 8, 8), 9)))
    assert batch.y.tolist() == [0, 1, 2, 1]


@pytest.mark.parametrize(("num_images", "num_labels"), [(3, 2), (0, 0)])
def test_a_resident_set_refuses_images_without_labels(num_images: int, num_labels: int) -> None:
    x, y = np.zeros((num_images, 3, 8, 8), np.uint8), np.zeros(num_labels, np.int64)
    with pytest.raises(ValueError, match=f"{num_images} images and {num_labels} labels"):
        ResidentSet(x, y, dataset(), CPU)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_batches_drawn_on_the_cpu_are_the_same_on_a_gpu() -> None:
    x = np.random.default_rng(0).integers(256, size=(40, 3, 12, 12), dtype=np.uint8)
    y = np.arange(40)
    on_cpu, on_gpu = (ResidentSet(x, y, dataset(), torch.device(d)) for d in ("cpu", "cuda"))
    pairs = zip(on_cpu.batches(16, stream()), on_gpu.batches(16, stream()), strict=True)
    for expected, found in pairs:
        assert found.x.is_cuda
        torch.testing.assert_close(found.x.cpu(), expected.x)
        assert torch.equal(found.y.cpu(), expected.y)
