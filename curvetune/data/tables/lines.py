"""Lists of images as text files: lines `path label`, with everything wrong told by its line."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from curvetune.data.labels import number
from curvetune.errors import DataError, printable


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines that are not empty, with their numbers from 1, without blanks around them.

    Raises:
        DataError: there is no such file, or it is no text in UTF-8.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            for line, text in enumerate(file, 1):
                if text := text.strip():
                    yield line, text
    except (OSError, UnicodeDecodeError) as error:
        what = error.strerror if isinstance(error, OSError) else error
        raise DataError(
            f"{printable(path)}: cannot be read ({what}); allowed is text in UTF-8: copy or "
            f"download it again"
        ) from None


def paths_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the number of each line with the path that it is.

    Raises:
        DataError: one leads out of its folder.
    """
    for line, text in lines_of(path):
        yield line, inside(path, line, text)


def labelled(path: Path, count: int) -> Iterator[tuple[int, str, int]]:
    """Yield the number of each line `path label` with the path and the label.

    Paths may hold commas and blanks: a label is what stands behind the last blank.

    Args:
        count: of the classes; labels are from 0 to `count` - 1.

    Raises:
        DataError: a line has no label, or one that is none of the classes.
    """
    for line, text in lines_of(path):
        file, _, label = text.replace("\t", " ").rpartition(" ")
        found = place(label, count)
        if not file or found is None:
            lacks = "has no label" if number(label) is None else f"has the label {label}"
            raise wrong(
                path,
                line,
                f"{printable(text)!r} {lacks}",
                f"a path, a blank and a whole number from 0 to {count - 1}",
            )
        yield line, inside(path, line, file.rstrip()), found


def place(label: str, count: int) -> int | None:
    """Return a label as a class from 0 to `count` - 1; None if it is none."""
    plain = number(label)
    if plain is None or not plain.isdecimal() or len(plain) > len(str(count)):
        return None
    return int(plain) if int(plain) < count else None


def label_of(labels: Mapping[str, int], file: str, where: tuple[Path, int], list_: Path) -> int:
    """Return the label that another list, `list_`, gives a file.

    Raises:
        DataError: none.
    """
    found = labels.get(file)
    if found is None:
        raise wrong(*where, f"{printable(file)} has no label in {list_.name}", "a line there")
    return found


def inside(path: Path, line: int, file: str) -> str:
    """Return a path with / that does not leave its folder.

    Raises:
        DataError: it does.
    """
    if is_outside(file):
        raise wrong(path, line, f"{printable(file)} is outside the folder", "a path within it")
    return file.removeprefix("./")


def is_outside(file: str) -> bool:
    """Say whether a path, relative to a folder, may lead out of it."""
    if file.startswith("/") or "\0" in file:
        return True
    return ".." in file and ".." in file.split("/")  # the first is told in a tenth of the time


def wrong(path: Path, line: int | str, what: str, allowed: str) -> DataError:
    """Return an error that names the file and the line, or the row."""
    where = f"line {line}" if isinstance(line, int) else line
    unit = where.partition(" ")[0]
    return DataError(
        f"{printable(path)}: {where}: {what}; allowed is {allowed}: correct the {unit}, or take it "
        f"out"
    )
