"""One image file of anybody's making, as RGB pixels of one size, or the reason why it is none.

What Pillow reads in another colour space, with more than 8 bits or of another size is converted.
A photograph that a camera stored turned is turned back, as its EXIF block says and as every viewer
shows it. Pillow does so by itself for TIFF alone.
Only these formats are tried: some others that Pillow knows start programs or have no end of pixels.
The name of a file that is refused is added by whoever reads it.
"""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, UnidentifiedImageError

VERSION = 2  # bumped by hand when a change of this file changes pixels or verdicts

SUFFIXES: dict[str, str] = {
    ".png": "PNG",
    ".apng": "PNG",
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jpe": "JPEG",
    ".jfif": "JPEG",
    ".jif": "JPEG",
    ".mpo": "JPEG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".dib": "BMP",
    ".gif": "GIF",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".ppm": "PPM",
    ".pgm": "PPM",
    ".pbm": "PPM",
    ".pnm": "PPM",
    ".pfm": "PPM",
}
FORMATS = tuple(dict.fromkeys(SUFFIXES.values()))
MAX_PIXELS = 89_478_485  # Pillow's own limit: 256 MB of RGB; a small file can claim far more

# What is said of an image that is not plain RGB, by Pillow's mode.
CHANGES = {
    "1": "black and white",
    "L": "grey",
    "P": "palette",
    "CMYK": "CMYK",
    "YCbCr": "YCbCr",
    **dict.fromkeys(("LA", "La", "PA", "RGBA", "RGBa"), "transparent"),
    **dict.fromkeys(("I;16", "I;16B", "I;16L", "I;16N", "I"), "16-bit"),
}

BILINEAR = Image.Resampling.BILINEAR
TURNED = "turned as EXIF says"
BAD_EXIF = "EXIF that cannot be read"
# What turns the pixels upright, by EXIF's orientation (CIPA DC-008, tag 274); 1 is upright.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class BadImageError(Exception):
    """An image cannot be used; the text says why, in a few words and without its name."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """An image, and what had to be converted."""

    pixels: NDArray[np.uint8]  # (3, H, W), or (1, H, W) in grey
    changes: tuple[str, ...]


def decode(content: bytes, suffix: str, size: int) -> Decoded:
    """Return an encoded image as RGB, `size` pixels high and wide; its proportions are not kept.

    Raises:
        BadImageError: as `decoded`.
    """
    return decoded(content, suffix, (size, size))


def decoded(
    content: bytes, suffix: str, size: tuple[int, int], *, is_grey: bool = False
) -> Decoded:
    """Return an encoded image of `size`, (H, W), as RGB or in grey; its proportions are not kept.

    Args:
        suffix: of the file's name, in lower case, empty without one; another format than it says
            counts as a change.

    Raises:
        BadImageError: it is no image, not whole, too large, or not a single picture.
    """
    if not content:
        raise BadImageError("empty file")
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            _check(image)
            changes = _changes(image, suffix)
            image.load()
            pixels, turned = pixels_of(image, size, is_grey=is_grey)
            return Decoded(pixels, (*changes, *turned))
    except BadImageError:
        raise
    except UnidentifiedImageError:  # its own text is the address of a buffer
        raise BadImageError(f"no image; allowed are {', '.join(FORMATS)}") from None
    except Image.DecompressionBombError:
        raise BadImageError(f"too large; allowed are {MAX_PIXELS:,} pixels") from None
    except Exception as error:  # Pillow's decoders raise whatever they stumble on
        reason = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise BadImageError(f"cannot be decoded ({reason})") from None


def pixels_of(
    image: Image.Image, size: tuple[int, int], *, is_grey: bool = False
) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Return an image of Pillow's, turned upright, as (3, H, W) or (1, H, W), and what was done."""
    upright, turned = _upright(image)
    rgb = _rgb(upright)
    height, width = size
    shown = (rgb.convert("L") if is_grey else rgb).resize((width, height), BILINEAR)
    return np.atleast_3d(np.asarray(shown)).transpose(2, 0, 1), turned


def _check(image: Image.Image) -> None:
    """Refuse, by its header alone, what would not end well."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise BadImageError(f"{width}×{height} pixels; allowed are {MAX_PIXELS:,} in all")
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":  # a camera's JPEG with a preview behind it
        raise BadImageError(f"{frames} frames; allowed is a single picture")
    if image.mode == "F" or (image.mode == "I" and image.format not in ("PNG", "PPM")):
        raise BadImageError("32 bits per pixel and colour; allowed are 8 and 16")


def _changes(image: Image.Image, suffix: str) -> tuple[str, ...]:
    found = [CHANGES.get(image.mode, image.mode)] if image.mode != "RGB" else []
    if "16" in _raw_mode(image) and "16-bit" not in found:
        found.append("16-bit")
    if image.size == (1, 1):
        found.append("1×1")
    if suffix and SUFFIXES.get(suffix, "") != image.format and image.format != "MPO":
        found.append("wrong extension")
    return tuple(found)


def _upright(image: Image.Image) -> tuple[Image.Image, tuple[str, ...]]:
    """Return an image that is loaded as it is meant to be seen, and what was done for it.

    A block that cannot be read, or an orientation that there is not, leaves the image as it is.
    """
    try:
        if block := image.info.get("exif"):  # of a JPEG, `open` has swallowed what is wrong with it
            Image.Exif().load(block)
        turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # whatever Pillow stumbles on in a block that is of no use here
        return image, (BAD_EXIF,)
    return (image, ()) if turn is None else (image.transpose(turn), (TURNED,))


def _raw_mode(image: Image.Image) -> str:
    """Return how the file stores a pixel, RGB;16B for instance."""
    tiles: Any = getattr(image, "tile", None)
    stored = tiles[0][3] if tiles else ""
    return str(stored[0] if isinstance(stored, tuple) else stored)  # then come places in the file


def _rgb(image: Image.Image) -> Image.Image:
    """Return the image as 8-bit RGB; of 16 bits the upper 8, and transparency is left out."""
    if CHANGES.get(image.mode) == "16-bit":  # `convert` would cut at 255
        image = Image.fromarray((np.asarray(image).astype(np.uint16) >> 8).astype(np.uint8))
    if "transparency" in image.info and image.mode == "P":
        image = image.convert("RGBA")
    return image.convert("RGB")
