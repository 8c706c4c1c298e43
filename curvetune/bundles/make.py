"""Makes a bundle of a grid: `curvetune bundle GRID OUT.zip`."""

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import curvetune
from curvetune.bundles.contents import Contents, find_contents
from curvetune.bundles.documents import code_of_tables, settled, table_files
from curvetune.bundles.environment import constraints, made_with
from curvetune.bundles.layout import (
    ABOUT,
    CONSTRAINTS,
    FIGURES,
    README,
    REFERENCES,
    SCHEMA_VERSION,
    SPACE,
    stored,
)
from curvetune.bundles.light import Read, lay_out
from curvetune.bundles.readme import Facts, counts_text, readme
from curvetune.bundles.sources import files_of, find_sources, named_in, refs_of
from curvetune.bundles.writer import AT_ONCE, Writer
from curvetune.errors import ConfigError, StorageError, StorageFullError, printable
from curvetune.grids.cells import Grid, Select
from curvetune.planning.again import again
from curvetune.report.references.bibtex import bibtex
from curvetune.store import CellStore
from curvetune.store.commands import records
from curvetune.store.files import cannot_write, encode
from curvetune.store.names import CELLS, PROBES
from curvetune.store.plain import open_plain
from curvetune.system.newfile import whole_file
from curvetune.system.units import size_text

Tell = Callable[[str], object]
RESERVE = 10_000_000  # bytes of tables, figures and texts


@dataclass(frozen=True)
class Wanted:
    """What a bundle is to have.

    Args:
        plugins: files or modules whose source is to go in, as the user names them.
    """

    select: Select = "last"
    curves: bool = True
    models: bool = True
    plugins: Sequence[str] = ()


@dataclass(frozen=True)
class Made:
    """What came of it."""

    files: int
    size: int
    sha256: str
    lacking: int  # cells without a result
    missing: tuple[str, ...]  # plugins without their source
    notes: tuple[str, ...]


def make_bundle(storage: Path, grid: str, out: Path, wanted: Wanted, tell: Tell) -> Made:
    """Write all of a grid into one file, which must not be there yet.

    Args:
        tell: hears how large it gets, and what it lacks.

    Raises:
        ConfigError: there is no such grid, none of its cells is done, or `out` is there.
        StorageError: `out` cannot be written, or a result changed meanwhile.
    """
    check_out(out)
    contents = find_contents(storage, grid, curves=wanted.curves, models=wanted.models)
    _tell_size(contents, tell)
    _check_room(contents, out)
    plugins, missing = _sources(storage, contents, wanted)
    for note in contents.notes:
        tell(note)
    for ref in missing:
        tell(f"{ref}: its source is not here; give it with --plugin FILE.py")
    shown, results = _results(contents, wanted)
    facts = Facts(
        made_with=made_with([c.result for c in shown.cells if c.result is not None]),
        plugins=plugins,
        missing=missing,
        has_figures=any(path.startswith(f"{FIGURES}/") for path in results),
        curves=wanted.curves,
        models=wanted.models,
    )
    texts = {
        README: readme(contents, shown, wanted.select, facts).encode("utf-8", "replace"),
        SPACE: again(contents.record).encode("utf-8", "replace"),
        CONSTRAINTS: constraints().encode(),
        REFERENCES: bibtex(cell.name for cell in shown.cells).encode(),
        **results,
        **files_of(plugins),
        **contents.small,
    }
    about = _about(contents, shown, wanted, facts)
    files, size, digest = _write(out, contents, texts, about)
    lacking, notes = len(contents.lacking), tuple(contents.notes)
    return Made(files, size, digest, lacking, tuple(map(str, missing)), notes)


def _results(contents: Contents, wanted: Wanted) -> tuple[Grid, dict[str, bytes]]:
    """Return the grid as a reader of the bundle sees it, and its tables and figures by path."""
    with tempfile.TemporaryDirectory(prefix="curvetune-bundle-") as room:
        root = Path(room)
        grid = settled(lay_out(root, contents.name, _files(contents)), contents.name)
        figures = _figures(root, grid, wanted.select)
        return grid, {**table_files(root, grid, wanted.select), **figures}


def _write(
    out: Path, contents: Contents, texts: Mapping[str, bytes], about: Mapping[str, Any]
) -> tuple[int, int, str]:
    """Write the file; return how many files it has, its bytes and its SHA-256.

    Raises:
        StorageError: it cannot be written, or a result changed meanwhile.
    """
    try:
        with whole_file(out) as file:
            writer = Writer(file, contents.name)
            for path, content in texts.items():
                writer.add(path, content)
            for piece in contents.all_pieces():
                writer.add(piece.path, _parts(piece.source), piece.size)
            _check_unchanged(contents, writer)
            listed = dict(sorted(writer.contents.items()))
            writer.add(ABOUT, encode({**about, "contents": listed}))
            digest = writer.close()
            return len(writer.contents), file.seek(0, 2), digest
    except OSError as error:
        raise cannot_write(out, error, _size(contents)) from error


def check_out(out: Path) -> None:
    """Refuse a file that is there, or that cannot be written.

    Raises:
        ConfigError: it is there.
        StorageError: its folder cannot be written.
    """
    if out.exists() or out.is_symlink():
        raise ConfigError(
            f"{printable(out)}: it is there already, and nothing is written over; give another "
            f"name, or remove it"
        )
    try:
        with tempfile.TemporaryFile(dir=out.parent):
            pass
    except OSError as error:
        raise StorageError(
            f"{printable(out)}: its folder {printable(out.parent)} cannot be written "
            f"({error.strerror}); give a file in a folder that can be"
        ) from None


def _tell_size(contents: Contents, tell: Tell) -> None:
    cells, probes = contents.size(CELLS), contents.size(PROBES)
    words = f"{contents.name}: {counts_text(contents)}; cells {size_text(cells)}"
    if probes:
        words += f", loss curves {size_text(probes)}"
    if probes > cells:
        words += " (--without-curves leaves the curves out)"
    tell(words)


def _size(contents: Contents) -> int:
    return sum(piece.size for piece in contents.all_pieces())


def _check_room(contents: Contents, out: Path) -> None:
    needed, free = _size(contents) + RESERVE, shutil.disk_usage(out.parent).free
    if needed > free:
        raise StorageFullError(
            f"{printable(out)}: needs about {size_text(needed)}, and {size_text(free)} are free "
            f"there; free some space, give a file elsewhere, or leave parts out with "
            f"--without-curves and --without-models"
        )


def _sources(storage: Path, contents: Contents, wanted: Wanted) -> tuple[list[Any], list[Any]]:
    """Return the plugins whose source is here, and what the grid needs beside them."""
    refs = refs_of(contents.record["cells"])
    if not refs:
        return [], []
    whole = [CellStore(storage).read_grid(contents.name), *records(storage, contents.name).values()]
    recorded = [name for record in whole for name in named_in(record.get("made") or {})]
    found, missing = find_sources(refs, wanted.plugins, recorded)
    return [*found.values()], missing


def _files(contents: Contents) -> Iterator[tuple[str, Read]]:
    """Yield the files of the storage part, and how to read each."""
    for path, content in contents.small.items():
        yield path, partial(iter, [content])
    for piece in contents.all_pieces():
        yield piece.path, partial(_parts, piece.source)


def _figures(storage: Path, grid: Grid, select: Select) -> dict[str, bytes]:
    from curvetune.report.figures import draw_all, file_of, name_of

    drawn = draw_all(storage, grid, cells=[], select=select)
    return {
        f"{FIGURES}/{name_of(grid, one)}.svg": file_of(one.figure, "svg")
        for one in drawn
        if one.figure is not None
    }


def _parts(path: Path) -> Iterator[bytes]:
    with os.fdopen(open_plain(path), "rb") as file:
        while part := file.read(AT_ONCE):
            yield part


def _check_unchanged(contents: Contents, writer: Writer) -> None:
    """Refuse a result that changed between the look at it and its copy.

    Raises:
        StorageError: one did.
    """
    for cell in contents.grid.cells:
        for name, digest in ((cell.result or {}).get("files") or {}).items():
            written = writer.contents.get(stored(CELLS, cell.cell_id, name))
            if written is not None and written["sha256"] != digest:
                raise StorageError(
                    f"cell {cell.cell_id}: {name} changed while it was read; bundle it again"
                )


def _about(contents: Contents, grid: Grid, wanted: Wanted, facts: Facts) -> dict[str, Any]:
    """Return bundle.json but for its list of files."""
    sources = {plugin.ref: sorted(files_of([plugin])) for plugin in facts.plugins}
    refs = [*sources, *facts.missing]
    return {
        "schema_version": SCHEMA_VERSION,
        "grid": contents.name,
        "made_by": {"curvetune": curvetune.__version__, "tables": code_of_tables()},
        "select": wanted.select,
        "cells": len(grid.cells),
        "cells_done": len(grid.cells) - len(contents.lacking),
        "lacking": [cell.cell_id for cell in contents.lacking],
        "probes": contents.counts.get(PROBES),
        "with_models": wanted.models,
        "methods": [*grid.methods()],
        "settings": len(grid.settings),
        "seeds": sorted({cell.seed for cell in grid.cells}),
        "profiles": [*grid.profiles],
        "data": {
            "names": [*dict.fromkeys(setting.data for setting in grid.settings)],
            "digest": grid.digest,
        },
        "made_with": facts.made_with,
        "plugins": [{**ref.model_dump(), "files": sources.get(ref, [])} for ref in refs],
        "notes": contents.notes,
    }
