"""Images of any kind as a classifier takes them: uint8 of its own size, (N, C, H, W).

A picture (a file, or an image of Pillow's) is read as the data sets of one's own are: turned as
EXIF says, in RGB or in grey, resized. Its white is brought to the data's own: 16 for digits.
An array has the data's own values already. Only its size is changed, if it has another.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curvetune.data.decode import BILINEAR, BadImageError, decoded, pixels_of
from curvetune.data.walk import suffix_of
from curvetune.errors import DataError, printable
from curvetune.training.classifier_facts import ClassifierFacts

Raw = NDArray[np.uint8]  # (N, C, H, W), or one image (C, H, W)
Picture: TypeAlias = str | os.PathLike[str] | Image.Image | NDArray[np.uint8]
BLACK_WHITE = 255  # of a picture


def raw_images(images: Picture | Iterable[Picture], facts: ClassifierFacts) -> Raw:
    """Return images as uint8, (N, C, H, W), of the size that a classifier takes.

    Args:
        images: one picture or several; or an array, (N, C, H, W), (N, H, W, C) or (N, H, W) in
            grey, or one image of it.

    Raises:
        DataError: one cannot be read, or an array has another shape or type.
    """
    if isinstance(images, np.ndarray):
        return _of_array(images, facts)
    if isinstance(images, str | os.PathLike | Image.Image):
        images = [images]
    found = [_of_one(image, facts) for image in images]
    return np.stack(found) if found else np.empty((0, facts.channels, *facts.size), np.uint8)


def read_picture(path: Path, facts: ClassifierFacts) -> Raw:
    """Return the image in a file, (C, H, W).

    Raises:
        BadImageError: it cannot be used; the text says why, without the name of the file.
    """
    _check_channels(facts)
    if path.exists() and not path.is_file():  # /dev/zero has no end
        raise BadImageError("is no file")
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK), "rb") as file:  # no pipe hangs
            content = file.read() or b""
    except OSError as error:
        raise BadImageError(f"cannot be read ({error.strerror})") from None
    found = decoded(content, suffix_of(path.name), facts.size, is_grey=facts.channels == 1)
    return _to_white(found.pixels, facts.white)


def _of_one(image: Picture, facts: ClassifierFacts) -> Raw:
    if isinstance(image, np.ndarray):
        found = _of_array(image, facts)
        if len(found) != 1:
            raise DataError(
                f"images: an array of shape {image.shape} in a list; allowed are single images "
                f"there, or one array of all"
            )
        return np.asarray(found[0], np.uint8)
    if isinstance(image, Image.Image):
        _check_channels(facts)
        try:
            image.load()  # Pillow turns a TIFF upright here, and says so in its EXIF
        except OSError as error:
            raise DataError(
                f"images: a picture of Pillow's cannot be read ({error}); leave it out"
            ) from None
        pixels, _ = pixels_of(image, facts.size, is_grey=facts.channels == 1)
        return _to_white(pixels, facts.white)
    try:
        return read_picture(Path(image), facts)
    except BadImageError as error:
        raise DataError(
            f"{printable(image)}: {error}; allowed is one picture in a format that Pillow reads"
        ) from None


def _of_array(given: NDArray[np.uint8], facts: ClassifierFacts) -> Raw:
    if given.dtype != np.uint8:
        raise DataError(
            f"images: an array of {given.dtype}; allowed is uint8 with the raw values of the data, "
            f"0 to {facts.white}: they are normalised here"
        )
    x = _with_four(given, facts.channels)
    if x.shape[1] != facts.channels:
        if x.shape[3] != facts.channels:
            raise DataError(
                f"images: an array of shape {given.shape}; allowed are (N, {facts.channels}, H, W) "
                f"and (N, H, W, {facts.channels})"
            )
        x = x.transpose(0, 3, 1, 2)
    if x.shape[2:] == facts.size:
        return x
    resized = [[_resized(plane, facts.size) for plane in image] for image in x]
    return np.array(resized, np.uint8).reshape(len(x), facts.channels, *facts.size)


def _with_four(x: NDArray[np.uint8], channels: int) -> NDArray[np.uint8]:
    """Return an array with four axes; those of one image, or of grey ones, are added."""
    if x.ndim == 2 and channels == 1:
        return x[None, None]
    if x.ndim == 3:
        is_one = channels in (x.shape[0], x.shape[2])
        return x[None] if is_one or channels != 1 else x[:, None]
    if x.ndim != 4:
        raise DataError(
            f"images: an array of shape {x.shape}; allowed are (N, {channels}, H, W) and "
            f"(N, H, W, {channels}), or one image of that"
        )
    return x


def _resized(plane: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    height, width = size
    return np.asarray(Image.fromarray(plane).resize((width, height), BILINEAR))


def _to_white(pixels: Raw, white: int) -> Raw:
    """Return a picture whose white is that of the data."""
    if white == BLACK_WHITE:
        return pixels
    return np.asarray(np.rint(pixels * (white / BLACK_WHITE)), np.uint8)


def _check_channels(facts: ClassifierFacts) -> None:
    if facts.channels not in (1, 3):
        raise DataError(
            f"this classifier takes images of {facts.channels} channels; pictures have 1 or 3: "
            f"give arrays (N, {facts.channels}, H, W) in Python, Results.model(cell).predict"
        )
