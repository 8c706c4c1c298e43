"""The files that a tuning writes for people: checked before it starts, written at its end."""

from pathlib import Path

from curvetune.config.fingerprint import GRID_NAME
from curvetune.errors import ConfigError, StorageError, printable

SPACES, FIGURES = (".yaml", ".yml"), (".svg", ".png")


def check_space_file(path: Path, *, force: bool) -> None:
    """Refuse a file that cannot be a space, or is there already.

    Raises:
        ConfigError: it is one of them.
    """
    if path.suffix not in SPACES or not GRID_NAME.fullmatch(path.stem):
        raise ConfigError(
            f"--space {printable(path)}: a space is a .yaml file, whose name is letters, digits, "
            f"'.', '_' and '-': --space winners.yaml"
        )
    _check("--space", path, force=force)


def check_figure_file(path: Path, *, force: bool) -> None:
    """Refuse a file that cannot be a figure, or is there already.

    Raises:
        ConfigError: it is one of them.
    """
    if path.suffix not in FIGURES:
        raise ConfigError(
            f"--figure {printable(path)}: a figure is a {' or '.join(FIGURES)} file: --figure "
            f"search.svg"
        )
    _check("--figure", path, force=force)


def write_file(option: str, path: Path, content: bytes) -> None:
    """Write a file.

    Args:
        option: that named it.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        path.write_bytes(content)
    except OSError as error:
        raise StorageError(
            f"{option} {printable(path)}: cannot be written ({error.strerror}); give another "
            f"place, and run the same command again, which runs no cell twice"
        ) from None


def _check(option: str, path: Path, *, force: bool) -> None:
    shown = f"{option} {printable(path)}"
    if not path.parent.is_dir():
        raise ConfigError(f"{shown}: there is no folder {printable(path.parent)}; make it first")
    if path.exists() and not force:
        raise ConfigError(
            f"{shown}: is there already; give another name, or --force, which writes it anew"
        )
