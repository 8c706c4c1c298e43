"""What lies in a folder and, at any depth, below it; hidden files and folders are left out.

Entries come from `os.scandir`, which knows without asking what is a folder: a third of the time
of asking for each.
"""

import functools
import os
from collections.abc import Container, Iterator
from pathlib import Path

from curvetune.errors import DataError, printable

Entry = os.DirEntry[str]


def entries(folder: str | Path) -> list[Entry]:
    """Return what lies in a folder, in no order; nothing if there is no such folder.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with os.scandir(folder) as found:
            return [entry for entry in found if not entry.name.startswith(".")]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise DataError(
            f"{printable(folder)}: cannot be read ({error.strerror}); allowed are folders that "
            f"you may read: change its rights, or take it out"
        ) from None


def below(folder: str, name: str, *, closed: Container[str] = ()) -> Iterator[tuple[str, Entry]]:
    """Yield each file in a folder and in the folders in it, with its path in terms of `name`.

    A link to a folder is followed, once, unless what it leads to is walked already, or contains
    `folder`: so a loop of links ends.

    Args:
        closed: extensions of folders that are yielded like a file, instead of what is in them.

    Raises:
        DataError: a folder cannot be read.
    """
    folders, links = [(folder, name)], list[tuple[str, str]]()
    seen: set[tuple[int, int] | None] = set()
    while folders or links:
        if not folders:
            seen |= _itself_and_above(folder)
            links.sort(reverse=True)
            folders.append(links.pop())
        path, prefix = folders.pop()
        if (place := _place(path)) in seen:
            continue
        seen.add(place)
        for entry in entries(path):
            inner = f"{prefix}/{entry.name}"
            if is_folder(entry) and suffix_of(entry.name) not in closed:
                (links if entry.is_symlink() else folders).append((entry.path, inner))
            else:
                yield inner, entry


def is_folder(entry: Entry) -> bool:
    """Say whether an entry is a folder, or a link to one."""
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def is_plain(entry: Entry) -> bool:
    """Say whether an entry is a file, or a link to one: neither a folder nor a pipe or a device."""
    try:
        return entry.is_file()
    except OSError:
        return False


def suffix_of(name: str) -> str:
    """Return the extension of a file's name, in lower case."""
    return os.path.splitext(name)[1].lower()


def _place(folder: str) -> tuple[int, int] | None:
    """Return what a folder is, by whatever path it is reached; None if it is gone."""
    try:
        found = os.stat(folder)
    except OSError:
        return None
    return found.st_dev, found.st_ino


@functools.lru_cache(maxsize=1)  # of a class folder with many links
def _itself_and_above(folder: str) -> frozenset[tuple[int, int] | None]:
    real = Path(folder).resolve()
    return frozenset(_place(str(path)) for path in (real, *real.parents))
