"""The files of a pack: FILE.1of3, FILE.2of3 and so on, where FILE is what is typed."""

import re
import tempfile
from pathlib import Path

from curvetune.errors import ConfigError, StorageError, printable

MIB = 1 << 20
PART = 15 * MIB  # of one file; 16 MiB is the most that some machines give back
LIMIT = 56 * MIB  # of all parts together; 64 MiB likewise, and other files travel as well

NUMBER = re.compile(r"\.(\d+)of(\d+)")


def part(file: Path, number: int, count: int) -> Path:
    """Return the path of part `number`, from 1, of `count`."""
    return file.with_name(f"{file.name}.{number}of{count}")


def parts(file: Path) -> dict[Path, tuple[int, int]]:
    """Return the parts of `file` that are there, each with its number and how many there are.

    Raises:
        ConfigError: one of them is not a file.
    """
    found = {path: _numbers(path, file) for path in file.parent.glob("*")}
    there = {path: numbers for path, numbers in found.items() if numbers}
    for path in there:
        if not path.is_file():
            raise ConfigError(
                f"{printable(path)}: a part of a pack is a file, and this is a folder or a "
                f"device; move it, or give another name than {printable(file)}"
            )
    return there


def check_file(file: Path, option: str = "") -> Path:
    """Return `file` if a pack can be called that.

    Args:
        option: in front of its name in an error.

    Raises:
        ConfigError: it is no name of a file, or that of one part.
    """
    if file.name in ("", ".."):
        raise ConfigError(
            f"{option}{printable(file)}: allowed is the name of a file, to which .1ofN is added; "
            f"give {printable(file / 'pack')}"
        )
    if (number := NUMBER.search(file.name)) and number.end() == len(file.name):
        whole = file.with_name(file.name[: number.start()])
        raise ConfigError(
            f"{option}{printable(file)}: this is one part of a pack, and allowed is the name of "
            f"the whole; give {printable(whole)}"
        )
    return file


def check_target(file: Path, option: str = "") -> Path:
    """Return `file` if a pack can be written there, which makes its folder.

    Raises:
        ConfigError: it is no name of a file, or what is called like its parts is no file.
        StorageError: its folder cannot be written.
    """
    check_file(file, option)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=file.parent):
            pass
    except OSError as error:
        raise StorageError(
            f"{option}{printable(file)}: {printable(file.parent)} cannot be a folder with files "
            f"of ours ({error.strerror}); give a FILE in a folder that can be written"
        ) from None
    parts(file)
    return file


def _numbers(path: Path, file: Path) -> tuple[int, int] | None:
    number = NUMBER.fullmatch(path.name.removeprefix(file.name))
    is_its = path.name.startswith(file.name) and number is not None
    return (int(number[1]), int(number[2])) if is_its and number is not None else None
