"""What is in a folder of images and is not read: it is counted, and told."""

from collections import Counter
from collections.abc import Collection, Container, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from curvetune.data.decode import SUFFIXES
from curvetune.data.labels_csv import LABELS
from curvetune.data.walk import below, entries, is_folder, suffix_of
from curvetune.errors import DataError, printable

NAMED = 5  # files that are named; the others are counted
LOOKED_AT = 100_000  # files beside train and test: so many take a tenth of a second


@dataclass(frozen=True)
class LeftOut:
    """What is in a folder and is not read, beside bad images."""

    unread: dict[str, int] = field(default_factory=dict)  # bad for their kind alone, by extension
    others: tuple[str, ...] = ()  # files in train and test that are no images
    beside: dict[str, int] = field(default_factory=dict)  # images by folder, not train or test

    def words(self) -> list[str]:
        """Return what people should know about it, a line each."""
        lines = []
        if self.unread:
            kinds = ", ".join(f"{suffix} ({n:,})" for suffix, n in self.unread.items())
            lines.append(f"images of a kind that is not read: {kinds}")
        if self.others:
            names = ", ".join(map(printable, self.others[:NAMED]))
            more = ", …" if len(self.others) > NAMED else ""
            lines.append(f"other files, not read: {len(self.others):,} ({names}{more})")
        for where, n in self.beside.items():
            place = "beside train and test" if where == "." else f"in {printable(where)}"
            lines.append(f"images {place}, not read: {n:,} (no row of {LABELS} names them)")
        return lines


def beside(folder: Path, files: Container[str], parts: Collection[str]) -> dict[str, int]:
    """Return how many images lie in other folders than those of parts, as far as is looked."""
    count: Counter[str] = Counter()
    for looked, (file, where) in enumerate(_others(folder, parts)):
        if looked == LOOKED_AT:
            break
        if file not in files and suffix_of(file) in SUFFIXES:
            count[where] += 1
    return dict(sorted(count.items()))


def _others(folder: Path, parts: Collection[str]) -> Iterator[tuple[str, str]]:
    """Yield each file beside the parts, and in which folder of `folder` it is."""
    for entry in entries(folder):
        if not is_folder(entry):
            yield entry.name, "."
        elif entry.name not in parts:
            with suppress(DataError):  # what cannot be read need not be
                yield from ((file, entry.name) for file, _ in below(entry.path, entry.name))
