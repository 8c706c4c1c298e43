"""Augmentation of a batch at once on the device, every sample with its own draw."""

from curvetune.data.augment.base import Augmentation, Draws, mirror, normalise
from curvetune.data.augment.padded import PaddedCrop, draw, random_crop, reflect_pad
from curvetune.data.augment.resized import ResizedCrop
from curvetune.data.source import Dataset

__all__ = [
    "Augmentation",
    "Draws",
    "PaddedCrop",
    "ResizedCrop",
    "augmentation_of",
    "draw",
    "mirror",
    "normalise",
    "random_crop",
    "reflect_pad",
]


def augmentation_of(facts: Dataset, image: tuple[int, int]) -> Augmentation:
    """Return how images of a data set, (H, W) pixels, are varied."""
    if facts.crop is None:
        return PaddedCrop(facts.pad, facts.flip)
    return ResizedCrop(facts.crop, image, facts.flip)
