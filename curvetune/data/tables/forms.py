"""All forms of data sets of any size. Their readers list rows and decode no image.

It imports Arrow, so it is imported where such a set is read.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from curvetune.config.data import NOISE_LEVELS
from curvetune.data.tables import (
    animal10n,
    clothing1m,
    cnwl,
    food101n,
    hugging_face,
    imagenet_lt,
    listed,
    shards,
    webvision,
)
from curvetune.data.tables.rows import checked
from curvetune.data.tables.table import Table
from curvetune.errors import DataError

Reader = Callable[[Path, str | None], Table]


@dataclass(frozen=True)
class Form:
    """A form of data.

    Args:
        read: returns the rows of a --data-dir; it is given the variant.
        what: what is read of it, in words.
        wanted: what a --data-dir of this form looks like.
        is_here: whether a --data-dir looks like that.
    """

    read: Reader
    what: str
    wanted: str
    is_here: Callable[[Path], bool]


def _plain(read: Callable[[Path], Table]) -> Reader:
    return lambda data_dir, _: read(data_dir)


def _cnwl(colour: str) -> Form:
    return Form(
        lambda data_dir, level: cnwl.read(data_dir, colour, level),
        f"{colour} noise",
        f"DIR with split/{colour}_noise_nl_…, split/clean_validation and all_images/",
        lambda data_dir: any(cnwl.has(data_dir, f"cnwl_{colour}", k) for k in NOISE_LEVELS),
    )


FORMS: dict[str, Form] = {
    "clothing1m": Form(
        _plain(clothing1m.read),
        "noisy labels to train on; the clean validation images are the clean set",
        clothing1m.WANTED,
        clothing1m.is_here,
    ),
    "food101n": Form(
        _plain(food101n.read),
        "tested on Food-101's own test set; what verified_val calls right is the clean set",
        food101n.WANTED,
        food101n.is_here,
    ),
    "webvision": Form(
        _plain(webvision.read),
        "the Google and the Flickr part, 1,000 classes",
        f"DIR with {webvision.GOOGLE}",
        webvision.is_here,
    ),
    "webvision_mini": Form(
        _plain(webvision.read_mini),
        "the Google part only, classes 0 to 49",
        f"DIR with {webvision.GOOGLE}",
        webvision.is_mini_here,
    ),
    "animal10n": Form(_plain(animal10n.read), "all images", animal10n.WANTED, animal10n.is_here),
    "cnwl_red": _cnwl("red"),
    "cnwl_blue": _cnwl("blue"),
    "imagenet_lt": Form(
        _plain(imagenet_lt.read),
        "without its images to validate",
        imagenet_lt.WANTED,
        imagenet_lt.is_here,
    ),
    "hf": Form(hugging_face.read, "Parquet", hugging_face.WANTED, hugging_face.is_here),
    "shards": Form(_plain(shards.read), "WebDataset", shards.WANTED, shards.is_here),
    "list": Form(_plain(listed.read), "a list", listed.WANTED, listed.is_here),
}


def read_table(name: str, data_dir: Path | None, variant: str | None = None) -> Table:
    """Return the rows of source `name`; every class has images to train on and to test on.

    Raises:
        DataError: there are none, or something is not as it should be; with its file and line.
    """
    form = FORMS[name]
    if data_dir is None:
        raise DataError(
            f"data.name={name}: no {name} there; allowed is {form.wanted}: give --data-dir DIR"
        )
    return checked(form.read(data_dir, variant), data_dir)
