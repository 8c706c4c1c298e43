"""WebDataset: tars whose members belong together by their key, the name up to its first point.

    DIR/train-000000.tar    key.jpg and key.cls, or key.jpg and key.json with a label
    DIR/test-000000.tar     or DIR/train/*.tar and DIR/test/*.tar

Classes are numbers, unless json has names. DIR/classnames.txt names them, a line each. Nothing is
unpacked: an image is read from where it lies in its tar. So tars that are compressed are refused,
and so are links, devices and files with holes.
"""

import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from curvetune.data.decode import SUFFIXES
from curvetune.data.labels import Classes, named_by
from curvetune.data.tables.encoded import Members
from curvetune.data.tables.lines import lines_of, wrong
from curvetune.data.tables.rows import encoded_table, not_there
from curvetune.data.tables.table import Table
from curvetune.data.tables.texts import Texts
from curvetune.errors import DataError, printable

WORDS = {"train": "train", "training": "train", "test": "test", "val": "val", "valid": "val"}
WORDS |= {"validation": "val"}
COMPRESSED = (".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar.zst")
WANTED = "DIR/train-*.tar and DIR/test-*.tar (or val), or tars in DIR/train and DIR/test"
LABEL_BYTES = 1 << 20  # of a json: more is not the facts of an image


@dataclass
class _Found:
    """The images of some tars so far."""

    tar: list[int] = field(default_factory=list)
    offset: list[int] = field(default_factory=list)
    size: list[int] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)


def split_of(path: Path, folder: Path) -> str | None:
    """Return train, test or val by a word in the name of a file or of its folders; None without."""
    for part in reversed(path.relative_to(folder).parts):
        for word in re.split(r"[^a-z]+", part.lower()):
            if word in WORDS:
                return WORDS[word]
    return None


def near(folder: Path, suffix: str) -> Iterator[Path]:
    """Yield the files with an extension in a folder and in the folders in it, and no deeper."""
    for pattern in (f"*{suffix}", f"*/*{suffix}"):
        yield from sorted(folder.glob(pattern))


def by_split(folder: Path, suffixes: tuple[str, ...], what: str) -> dict[str, list[Path]]:
    """Return the files with these extensions by split, in the order of their names.

    Raises:
        DataError: one is of no split.
    """
    found: dict[str, list[Path]] = {"train": [], "test": [], "val": []}
    for path in sorted(path for suffix in suffixes for path in folder.rglob(f"*{suffix}")):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if hidden or not path.is_file():
            continue
        split = split_of(path, folder)
        if split is None:
            raise DataError(
                f"{printable(path)}: no split by its name or folder; allowed is {what}: rename it"
            )
        found[split].append(path)
    return found


def is_here(data_dir: Path) -> bool:
    """Say whether a folder has tars."""
    return any(True for _ in near(data_dir, ".tar"))


def read(data_dir: Path) -> Table:
    """Return the rows.

    Raises:
        DataError: there are no tars, or one of them is not as it should be.
    """
    packed = [p for end in COMPRESSED for p in data_dir.rglob(f"*{end}")]
    if packed:
        raise DataError(
            f"{printable(packed[0])}: is compressed; allowed are plain tars, in which an image can "
            f"be read where it lies: unpack it with gzip -d, or the like"
        )
    files = by_split(data_dir, (".tar",), WANTED)
    test = files["test"] or files["val"]
    if not files["train"] or not test:
        lacks = "train" if not files["train"] else "test"
        raise not_there("shards", data_dir, f"{WANTED}; there are none to {lacks}")
    tars, found = [*files["train"], *test], _Found()
    for k, path in enumerate(tars):
        if k == len(files["train"]):
            train = len(found.names)
        _add(found, k, path)
    classes = Classes(_names(data_dir, found.labels[:train]))
    members = Members(
        data_dir,
        tuple(path.relative_to(data_dir).as_posix() for path in tars),
        np.array(found.tar, np.int32),
        np.array(found.offset, np.int64),
        np.array(found.size, np.int64),
        Texts(found.names),
    )
    return encoded_table(members, train, _y(found, members, classes, data_dir), classes.names)


def _add(found: _Found, tar: int, path: Path) -> None:
    """Add the images of a tar, in the order in which they lie there."""
    try:
        with tarfile.open(path, "r:") as opened:
            images, labels = _members(opened, path)
    except (tarfile.TarError, OSError) as error:
        raise DataError(
            f"{printable(path)}: cannot be read as a tar ({printable(error)}); copy it again"
        ) from None
    for key, member in images.items():
        if key not in labels:
            allowed = "an image with a .cls, or a .json that has a label"
            raise wrong(path, _member(member), "no label", allowed)
        found.tar.append(tar)
        found.offset.append(member.offset_data)
        found.size.append(member.size)
        found.names.append(member.name)
        found.labels.append(labels[key])


def _members(
    opened: tarfile.TarFile, path: Path
) -> tuple[dict[str, tarfile.TarInfo], dict[str, str]]:
    """Return the images of a tar and the labels, by their keys."""
    images: dict[str, tarfile.TarInfo] = {}
    labels: dict[str, str] = {}
    for member in _plain(opened, path):
        key, suffix = _key(member.name)
        if suffix in SUFFIXES:
            if key in images:
                what = f"a second image of {printable(key)}"
                raise wrong(path, _member(member), what, "one for each key")
            images[key] = member
        elif suffix in (".cls", ".json"):
            content = opened.extractfile(member)
            assert content is not None, "links and folders are not plain"
            label = _label(content.read(LABEL_BYTES + 1), suffix, path, member)
            if label is not None:
                labels.setdefault(key, label)
    return images, labels


def _plain(opened: tarfile.TarFile, path: Path) -> Iterator[tarfile.TarInfo]:
    for member in opened:
        if member.isdir():
            continue
        if not member.isreg() or member.issparse():
            what = "a link" if member.issym() or member.islnk() else "no plain file"
            raise wrong(path, _member(member), what, "a plain file")
        yield member


def _key(name: str) -> tuple[str, str]:
    """Return the key of a member, with its folder, and its extension, in lower case."""
    folder, slash, base = name.rpartition("/")
    key, point, rest = base.partition(".")
    return f"{folder}{slash}{key}", f"{point}{rest.rpartition('.')[2].lower()}" if point else ""


def _label(content: bytes, suffix: str, path: Path, member: tarfile.TarInfo) -> str | None:
    """Return the label as text; None of a json without one."""
    try:
        if suffix == ".cls":
            return content.decode().strip()
        if len(content) > LABEL_BYTES:
            raise ValueError(f"it has more than {LABEL_BYTES:,} bytes")
        facts = json.loads(content)
        label = facts.get("label") if isinstance(facts, dict) else None
    except ValueError as error:
        what = f"cannot be read ({printable(error, 80)})"
        raise wrong(path, _member(member), what, "a label, or JSON with a label") from None
    if label is None:
        return None
    if not isinstance(label, int | str):
        what = f"label {printable(label, 40)!r}"
        raise wrong(path, _member(member), what, "a whole number or a name")
    return str(label)


def _names(data_dir: Path, labels: list[str]) -> tuple[str, ...]:
    path = data_dir / "classnames.txt"
    return tuple(text for _, text in lines_of(path)) if path.is_file() else named_by(labels)


def _y(found: _Found, members: Members, classes: Classes, data_dir: Path) -> list[int]:
    named = (data_dir / "classnames.txt").is_file() and not classes.have_numbers
    counted = {str(k): k for k in range(len(classes.names))} if named else {}
    meaning = {label: counted.get(label, classes.find(label)) for label in set(found.labels)}
    y = []
    for k, label in enumerate(found.labels):
        known = meaning[label]
        if known is None:
            raise DataError(
                f"{printable(data_dir / members.name(k))}: label {printable(label)!r}"
                f"{classes.why_not(label)}: correct it, or take the image out"
            )
        y.append(known)
    return y


def _member(member: tarfile.TarInfo) -> str:
    return printable(member.name)
