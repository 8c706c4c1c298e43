"""A photograph is trained as every viewer shows it, whatever its EXIF block says of its pixels."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from image_folder import CLASSES, encoded, picture, write_images
from numpy.typing import NDArray
from PIL import ExifTags, Image

from curvetune.data import Folder
from curvetune.data.decode import BAD_EXIF, TURNED, BadImageError, decode

SIZE = 16
# What a camera has done to the upright rows and columns, by EXIF's number (the standard's table).
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, 1),
    7: lambda a: a.transpose(1, 0, 2)[::-1, ::-1],
    8: lambda a: np.rot90(a, -1),
}
FORMATS = {".png": "PNG", ".webp": "WEBP", ".tiff": "TIFF", ".jpg": "JPEG"}


def upright() -> NDArray[np.uint8]:
    """Return a picture that no turn leaves as it is, wider than high, smooth as JPEG likes it."""
    image = Image.fromarray(np.random.default_rng(3).integers(256, size=(3, 4, 3), dtype=np.uint8))
    return np.asarray(image.resize((48, 32), Image.Resampling.BICUBIC))


def phone(orientation: int, image_format: str) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    image = Image.fromarray(np.ascontiguousarray(STORED.get(orientation, STORED[1])(upright())))
    options = {"WEBP": {"lossless": True}, "JPEG": {"quality": 98, "subsampling": 0}}
    return encoded(image, image_format, exif=exif, **options.get(image_format, {}))


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("orientation", STORED)
def test_the_pixels_are_those_of_the_upright_picture(suffix: str, orientation: int) -> None:
    expected = decode(encoded(Image.fromarray(upright())), ".png", SIZE).pixels.astype(int)
    found = decode(phone(orientation, FORMATS[suffix]), suffix, SIZE)
    allowed = 3 if suffix == ".jpg" else 0
    assert np.abs(found.pixels - expected).max() <= allowed
    by_us = orientation != 1 and suffix != ".tiff"  # Pillow turns a TIFF file by itself
    assert found.changes == ((TURNED,) if by_us else ())


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_there_is_not_is_none(orientation: int) -> None:
    plain = decode(encoded(Image.fromarray(upright())), ".png", SIZE)
    found = decode(phone(orientation, "PNG"), ".png", SIZE)
    assert (found.pixels == plain.pixels).all()
    assert found.changes == ()


@pytest.mark.parametrize(
    "block", [b"Exif\0\0garbage", b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03", b"\0" * 40, b"II*\0"]
)
def test_a_block_that_cannot_be_read_costs_nothing(block: bytes) -> None:
    plain = decode(encoded(picture(1)), ".png", SIZE)
    found = decode(encoded(picture(1), "PNG", exif=block), ".png", SIZE)
    assert (found.pixels == plain.pixels).all()
    assert found.changes in ((), (BAD_EXIF,))


def test_an_image_that_is_not_whole_is_bad_and_not_a_matter_of_its_exif_block() -> None:
    whole = phone(6, "PNG")
    with pytest.raises(BadImageError, match="cannot be decoded"):
        decode(whole[: len(whole) // 2], ".png", SIZE)


def digest_before_photographs_were_turned(root: Path) -> str:
    """Return the digest as it has been from the first version on (commit aa53525)."""
    parts: list[object] = [list(CLASSES)]
    for split in ("train", "test"):
        for path in sorted((root / split).glob("*/*")):
            found = hashlib.sha256(path.read_bytes()).hexdigest()
            parts.append([path.relative_to(root).as_posix(), split, path.parent.name, found])
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def test_the_address_of_a_folder_moves_only_if_a_photograph_in_it_is_turned(tmp_path: Path) -> None:
    write_images(tmp_path)
    plain = Folder().digest(tmp_path)
    assert plain == digest_before_photographs_were_turned(tmp_path)
    (tmp_path / "train" / "ant" / "0.png").write_bytes(phone(6, "PNG"))
    folder = Folder()
    assert folder.report(tmp_path).converted[TURNED] == 1
    turned = folder.digest(tmp_path)
    (tmp_path / "train" / "ant" / "0.png").write_bytes(phone(1, "PNG"))
    assert len({plain, turned, Folder().digest(tmp_path)}) == 3


def test_a_damaged_block_of_a_jpeg_is_counted_as_of_other_formats() -> None:
    options = {"quality": 95, "exif": b"Exif\0\0garbage"}
    plain = decode(encoded(picture(1), "JPEG", quality=95), ".jpg", SIZE)
    found = decode(encoded(picture(1), "JPEG", **options), ".jpg", SIZE)
    assert (found.pixels == plain.pixels).all()
    assert found.changes == (BAD_EXIF,)


def test_a_compressed_tiff_of_8_bits_is_not_said_to_have_16() -> None:
    for seed in range(60):
        content = encoded(picture(seed, 20 + seed, 30), "TIFF", compression="tiff_lzw")
        assert decode(content, ".tiff", SIZE).changes == ()
