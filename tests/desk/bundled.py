"""Bundles of stand-in grids, and what somebody may do to one."""

import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from storage_fixtures import finish, make_cells, write_grid
from typer.testing import CliRunner

from curvetune.bundles.make import Made, Wanted, make_bundle
from curvetune.bundles.writer import Writer
from curvetune.cli import app
from curvetune.config import CellConfig
from curvetune.errors import CurvetuneError

GRID = "small"
LOCAL = 30  # bytes of a zip's header of a file, before its name
PLUGIN = '''
from typing import ClassVar, Literal
from curvetune.plugins import MethodConfig, method
__version__ = "1"
class MineConfig(MethodConfig):
    """Mine."""
    source: ClassVar[str] = "none"
    name: Literal["mine"] = "mine"
@method(MineConfig)
def build(config, parts):
    raise NotImplementedError
'''


def small_grid(root: Path, *, lacking: int = 0, **more: Any) -> list[CellConfig]:
    """A grid of two methods, two imbalances and two seeds, of which the last cells are not done."""
    cells = make_cells(imbalances=(1, 10), noise_rates=(0.4,), **more)
    write_grid(root, cells)
    for k, cell in enumerate(cells[: len(cells) - lacking]):
        finish(root, cell, 60.0 + k)
    return cells


def bundle(root: Path, out: Path, *, grid: str = GRID, **wanted: Any) -> Made:
    return make_bundle(root, grid, out, Wanted(**wanted), lambda line: None)


def small_bundle(folder: Path, **more: Any) -> Path:
    """A bundle of the small grid, whose storage is `folder`/from."""
    small_grid(folder / "from", **more)
    bundle(folder / "from", folder / "small.zip")
    return folder / "small.zip"


@dataclass(frozen=True)
class Done:
    """What a command line has printed and how it ended; an error as `cli.main` has it."""

    code: int
    stdout: str
    stderr: str


def run(*words: str | Path) -> Done:
    result = CliRunner().invoke(app, [*map(str, words)])
    error = result.exception
    if isinstance(error, CurvetuneError):
        return Done(error.exit_code, result.stdout, f"{result.stderr}error: {error}\n")
    assert error is None or isinstance(error, SystemExit), error
    return Done(result.exit_code, result.stdout, result.stderr)


def inside(path: Path) -> dict[str, bytes]:
    """Return the files of a bundle by their paths without the grid's name."""
    with zipfile.ZipFile(path) as file:
        return {name.partition("/")[2]: file.read(name) for name in file.namelist()}


def rewritten(path: Path, change: Callable[[dict[str, bytes]], Mapping[str, bytes]]) -> Path:
    """Write a bundle anew with other files, sealed as ours: what somebody can make up."""
    files = change(inside(path))
    out = path.with_name(f"re-{path.name}")
    with out.open("w+b") as file:
        writer = Writer(file, GRID)
        for name, content in files.items():
            writer.add(name, content)
        writer.close()
    return out


def place_of(path: Path, member: str) -> int:
    """Return where in a bundle the bytes of a file begin."""
    with zipfile.ZipFile(path) as file:
        info = file.getinfo(f"{GRID}/{member}")
    with path.open("rb") as raw:
        raw.seek(info.header_offset + LOCAL - 4)
        name, extra = struct.unpack("<HH", raw.read(4))
    return info.header_offset + LOCAL + int(name) + int(extra)


def changed(path: Path, at: int) -> Path:
    """Return a copy of a file with one bit of one byte turned."""
    content = bytearray(path.read_bytes())
    content[at] ^= 0x10
    out = path.with_name(f"changed-{path.name}")
    out.write_bytes(content)
    return out


def files_of(root: Path) -> dict[str, bytes]:
    """Return what a storage has of cells, probes, splits and labels, but for leases."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for kind in ("cells", "probes", "splits", "relabels")
        for path in (root / kind).rglob("*")
        if path.is_file() and not path.name.startswith("lease-")
    }
