"""Random resized crops, against torchvision's operations on one image at a time."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode, RandomResizedCrop
from torchvision.transforms.v2 import functional as reference

from curvetune.data.augment.resized import Parts, ResizedCrop, by_matrices, draw_parts
from curvetune.data.sets.resident import ResidentSet
from curvetune.data.source import Dataset, Images
from curvetune.seeding import torch_stream

CPU = torch.device("cpu")
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
SIZE, CROP = (40, 48), 24


def photographs(count: int = 12, channels: int = 3) -> np.ndarray:
    """Return smooth images with some noise, (N, C, 40, 48) uint8."""
    draw = np.random.default_rng(3)
    coarse = draw.uniform(0, 255, (count, channels, 5, 6)).repeat(8, axis=2).repeat(8, axis=3)
    return (coarse + draw.normal(0, 20, coarse.shape)).clip(0, 255).astype(np.uint8)


def resident(count: int = 12, *, flip: bool = True) -> tuple[ResidentSet, torch.Tensor]:
    x = photographs(count)
    none = Images(x[:0], np.empty(0, np.int64))
    facts = Dataset("photographs", none, none, ("cat", "dog"), MEAN, STD, 5, flip, crop=CROP)
    return ResidentSet(x, np.arange(count), facts, CPU), torch.from_numpy(x)


def stream(seed: int = 0) -> torch.Generator:
    return torch_stream(seed, "test")


def as_torchvision_does(x: torch.Tensor, order: torch.Tensor, parts: Parts) -> torch.Tensor:
    """Return each image of `order`, cropped, resized and mirrored by itself, uint8."""

    def each() -> Iterator[torch.Tensor]:
        for position, top, left, height, width, mirrored in zip(order, *parts, strict=True):
            box = (int(top), int(left), int(height), int(width))
            one = reference.resized_crop(
                x[position], *box, [CROP, CROP], InterpolationMode.BILINEAR, antialias=True
            )
            yield reference.hflip(one) if mirrored else one

    return torch.stack(list(each()))


def normalised(x: torch.Tensor) -> torch.Tensor:
    return reference.normalize(x.float(), list(MEAN), list(STD))


@pytest.mark.parametrize("flip", [True, False])
def test_every_photograph_is_cropped_resized_and_mirrored_as_torchvision_would(flip: bool) -> None:
    images, x = resident(flip=flip)
    found = torch.cat([batch.x for batch in images.batches(5, stream())])
    generator = stream()
    order = torch.randperm(12, generator=generator)
    parts = Parts(*ResizedCrop(CROP, SIZE, flip).draw(12, generator))
    torch.testing.assert_close(found, normalised(as_torchvision_does(x, order, parts)))
    assert bool(parts.mirrored.any()) == flip


def test_evaluation_sees_the_middle_of_a_photograph() -> None:
    images, x = resident()
    found = torch.cat([batch.x for batch in images.ordered(5)])
    torch.testing.assert_close(found, normalised(reference.center_crop(x, [CROP])))


@pytest.mark.parametrize("channels", [1, 3])
def test_what_a_gpu_computes_is_what_a_cpu_does_but_for_rounding(channels: int) -> None:
    x = torch.from_numpy(photographs(60, channels))
    crop = ResizedCrop(CROP, SIZE, flip=False)
    index, draws = torch.arange(60).flip(0), crop.draw(60, stream())
    expected = crop.augmented(x, index, draws).int()
    difference = (by_matrices(x, index, torch.stack(draws[:4]), CROP).int() - expected).abs()
    assert difference.max() <= 2  # as Pillow is off from both
    assert (difference > 0).float().mean() < 0.03


def test_parts_are_drawn_as_torchvision_draws_them() -> None:
    count, bins = 8000, torch.linspace(0, 1, 6)
    ours = draw_parts(count, *SIZE, stream()).T.double()
    torch.manual_seed(1)
    blank, options = torch.empty(3, *SIZE), ([0.08, 1.0], [3 / 4, 4 / 3])
    theirs = torch.tensor([RandomResizedCrop.get_params(blank, *options) for _ in range(count)])
    for facts in (lambda p: p[:, 2] * p[:, 3] / (40 * 48), lambda p: p[:, 3] / p[:, 2] - 0.5):
        a, b = (torch.histogram(facts(p).float(), bins).hist for p in (ours, theirs.double()))
        # Chi-square of two samples with at most 4 degrees of freedom: above 23 once in 10,000.
        assert ((a - b) ** 2 / (a + b).clamp(min=1)).sum() < 23
    for start, side, size in ((0, 2, 40), (1, 3, 48)):  # where it lies, of where it could
        part = ours[ours[:, side] < size - 5]
        share = (part[:, start] + 0.5) / (size - part[:, side] + 1)
        assert abs(share.mean() - 0.5) < 5 * 0.2887 / len(part) ** 0.5
        assert (part[:, start] == 0).any()
        assert (part[:, start] == size - part[:, side]).any()


@pytest.mark.parametrize("size", [(8, 8), (512, 512), (37, 90), (90, 37)])
def test_every_part_lies_in_the_image_and_has_a_pixel(size: tuple[int, int]) -> None:
    top, left, height, width = draw_parts(20_000, *size, stream())
    assert min(top.min(), left.min()) >= 0
    assert min(height.min(), width.min()) >= 1
    assert (top + height).max() == size[0]
    assert (left + width).max() == size[1]


@pytest.mark.parametrize("size", [(4, 400), (400, 4)])
def test_of_a_strip_in_which_no_part_lies_the_middle_is_taken_as_torchvision_does(
    size: tuple[int, int],
) -> None:
    expected = RandomResizedCrop.get_params(torch.empty(3, *size), [0.08, 1.0], [3 / 4, 4 / 3])
    assert draw_parts(3, *size, stream()).T.tolist() == [list(expected)] * 3


def test_a_pass_is_a_function_of_the_generator_and_not_of_the_batch_size() -> None:
    images, _ = resident()
    small, large = list(images.batches(5, stream())), list(images.batches(12, stream()))
    for k in range(3):
        assert torch.equal(torch.cat([batch[k] for batch in small]), large[0][k])


def test_a_run_resumed_between_passes_goes_on_bit_for_bit() -> None:
    images, _ = resident()
    generator = stream()
    first = next(images.batches(12, generator))
    state = generator.get_state()
    second = next(images.batches(12, generator))
    again = next(images.batches(12, torch.Generator().set_state(state)))
    assert torch.equal(second.x, again.x)
    assert not torch.equal(first.x, second.x)


def test_draws_of_many_samples_take_little_memory() -> None:
    draws = ResizedCrop(224, (256, 256), flip=True).draw(200_000, stream())
    assert sum(values.element_size() for values in draws) == 9  # bytes of a sample
    assert all(len(values) == 200_000 for values in draws)


@pytest.mark.parametrize("crop", [0, 41])
def test_a_crop_is_not_larger_than_the_images(crop: int) -> None:
    with pytest.raises(ValueError, match=f"a crop of {crop} pixels: allowed are 1 to 40"):
        ResizedCrop(crop, SIZE, flip=True)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_pass_on_a_gpu_is_that_of_a_cpu_but_for_rounding() -> None:
    x = photographs()
    none = Images(x[:0], np.empty(0, np.int64))
    facts = Dataset("photographs", none, none, ("cat", "dog"), MEAN, STD, 5, True, crop=CROP)
    on_cpu, on_gpu = (
        ResidentSet(x, np.arange(12), facts, torch.device(d)) for d in ("cpu", "cuda")
    )
    for expected, found in zip(
        on_cpu.batches(5, stream()), on_gpu.batches(5, stream()), strict=True
    ):
        torch.testing.assert_close(found.x.cpu(), expected.x, rtol=0, atol=2.01 / min(STD))
        assert torch.equal(found.index.cpu(), expected.index)
