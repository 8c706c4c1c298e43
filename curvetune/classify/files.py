"""The pictures that paths name, and what a classifier says of each; a few are held at once."""

import glob
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curvetune.classify.classifier import Classifier
from curvetune.classify.raw import Raw, read_picture
from curvetune.data.decode import SUFFIXES, BadImageError
from curvetune.data.kinds import kind_of
from curvetune.data.walk import below, suffix_of
from curvetune.errors import DataError, printable

AT_ONCE = 100  # pictures read before they are looked at: 79 MB of the largest, 512 × 512
READERS = min(8, os.cpu_count() or 1)  # Pillow decodes without Python's lock


@dataclass(frozen=True)
class Found:
    """The files that paths name.

    Args:
        pictures: to be read, sorted within each folder.
        others: files in folders that are no pictures by their names and first bytes.
    """

    pictures: tuple[str, ...]
    others: int


@dataclass(frozen=True)
class Looked:
    """A picture, and its likeliest classes with their probabilities; or why it cannot be read."""

    path: str
    top: tuple[tuple[str, float], ...]
    problem: str | None = None


def find_pictures(paths: Sequence[str]) -> Found:
    """Return the pictures that files, folders and patterns name, each once.

    A file that is named itself is always one. In a folder, at any depth, those are whose name or
    content says so. Hidden files there are left out.

    Raises:
        DataError: nothing is there.
    """
    pictures: dict[str, None] = {}
    others = 0
    for text in paths:
        for path in _matching(text):
            if not os.path.isdir(path):
                pictures[path] = None
                continue
            inside = sorted(below(path, path.rstrip("/")), key=lambda found: os.fsencode(found[0]))
            for name, entry in inside:
                if kind_of(Path(entry.path), suffix_of(entry.name)) == "other":
                    others += 1
                else:
                    pictures[name] = None
    if not pictures:
        raise DataError(
            f"{printable(' '.join(paths))}: no picture there; allowed are pictures "
            f"({', '.join(list(SUFFIXES)[:3])} …), folders of them, and patterns such as '*.jpg'"
        )
    return Found(tuple(pictures), others)


def look_at(classifier: Classifier, pictures: Sequence[str], top: int) -> Iterator[Looked]:
    """Yield what a classifier says of each picture, in order."""
    with ThreadPoolExecutor(READERS) as readers:
        for start in range(0, len(pictures), AT_ONCE):
            some = pictures[start : start + AT_ONCE]
            read = list(readers.map(lambda path: _read(path, classifier), some))
            good = [raw for raw in read if not isinstance(raw, str)]
            said = iter(classifier.predict_raw(np.stack(good)).top(top) if good else [])
            for path, raw in zip(some, read, strict=True):
                if isinstance(raw, str):
                    yield Looked(path, (), raw)
                else:
                    yield Looked(path, tuple(next(said)))


def _matching(text: str) -> list[str]:
    """Return the paths that a text names: itself, or what matches it if there is no such file.

    Raises:
        DataError: nothing does.
    """
    if os.path.lexists(text):
        return [text]
    found = sorted(glob.glob(text, recursive=True)) if glob.has_magic(text) else []
    if not found:
        raise DataError(
            f"{printable(text)}: no such file or folder, and nothing matches it; give pictures, "
            f"folders of them, or patterns such as '*.jpg'"
        )
    return found


def _read(path: str, classifier: Classifier) -> Raw | str:
    """Return a picture, or why it cannot be used."""
    try:
        return read_picture(Path(path), classifier.facts)
    except BadImageError as error:
        return printable(error)
