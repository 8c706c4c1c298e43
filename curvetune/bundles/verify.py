"""Checks a bundle: `curvetune verify BUNDLE`. Needs no storage, no images and no plugin."""

import csv
import hashlib
import io
import math
import tempfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast, get_args

from curvetune.bundles.documents import code_of_tables, settled, table_files
from curvetune.bundles.layout import ABOUT, TABLES, contents_of
from curvetune.bundles.light import lay_out
from curvetune.bundles.reader import Reader
from curvetune.errors import CorruptError, CurvetuneError, printable
from curvetune.grids.cells import Grid, Select
from curvetune.store.names import MANIFEST

SHOWN = 20  # lines of an error
# What cells that anybody may have made up can raise where tables are made of them.
UNREADABLE = (
    *(CurvetuneError, ValueError, LookupError, TypeError, OSError, AttributeError),
    *(ArithmeticError, RecursionError),
)
# The means of cells, which every version makes alike: tests and published numbers grow.
PLAIN = tuple(f"{TABLES}/{name}.csv" for name in ("report", "ma", "seeds", "cells", "classes"))
SAME = 1e-6  # two accuracies in percent that are one: other versions add up in another order


@dataclass
class Verdict:
    """What is known of a bundle.

    Args:
        problems: what is wrong, a line each; none of a whole bundle.
        notes: what could not be looked at.
        tables: how many tables come out of the cells again.
        cells, done, probes: of the grid, as its cells say.
    """

    sha256: str = ""
    files: int = 0
    size: int = 0
    about: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    tables: int = 0
    cells: int = 0
    done: int = 0
    probes: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether it is as it was bundled."""
        return not self.problems


def verify_bundle(path: Path) -> Verdict:
    """Check every file of a bundle, then compute its tables from its cells and compare them.

    Raises:
        ConfigError: there is no such file, or another version made it.
        CorruptError: it is no bundle, or so damaged that nothing can be told of it.
    """
    with Reader(path) as reader:
        found = Verdict(size=reader.size, files=len(reader.files) + len(reader.refused))
        found.sha256, is_sealed = reader.digests()
        found.about = reader.about()
        _check_files(reader, found)
        if not is_sealed and not found.problems:
            found.problems.append(
                "the zip's own directory: bytes of it were changed or cut off, and no file inside "
                "was; copy the bundle again"
            )
        manifests = [path for path in reader.files if path.endswith(f"/{MANIFEST}")]
        found.probes = len(manifests)
        if found.is_whole:
            _check_tables(reader, found)
    return found


def _check_files(reader: Reader, found: Verdict) -> None:
    """Compare each file with what bundle.json says of it."""
    listed = contents_of(found.about)
    for path, problem in reader.refused.items():
        found.problems.append(f"{printable(path)}: {problem}")
    for path in sorted(reader.files.keys() - listed.keys() - {ABOUT}):
        found.problems.append(f"{path}: bundle.json does not list it")
    for path, one in listed.items():
        if path in reader.refused:
            continue
        try:
            digest = hashlib.sha256()
            for part in reader.parts(path):
                digest.update(part)
        except CorruptError as error:
            found.problems.append(str(error))
            continue
        if digest.hexdigest() != one["sha256"]:
            found.problems.append(f"{path}: its content is not what bundle.json says")


def _check_tables(reader: Reader, found: Verdict) -> None:
    """Compute the tables from the cells, and compare them with those of the bundle."""
    name, select = str(found.about.get("grid")), found.about.get("select")
    if name != reader.name or select not in get_args(Select):
        found.problems.append(f"{ABOUT}: grid {name!r} and select {select!r} are none of a bundle")
        return
    with tempfile.TemporaryDirectory(prefix="curvetune-verify-") as temporary:
        storage = Path(temporary)
        files = ((path, partial(reader.parts, path)) for path in reader.files)
        try:
            grid = settled(lay_out(storage, name, files), name)
            _check_cells(grid, found)
            made = table_files(storage, grid, cast("Select", select))
        except UNREADABLE as error:
            found.problems.append(
                f"the tables cannot be computed from its cells: {printable(error, 500)}"
            )
            return
    _compare(reader, made, found)


def _check_cells(grid: Grid, found: Verdict) -> None:
    """Compare which cells have a result with what bundle.json says."""
    lacking = [cell.cell_id for cell in grid.cells if cell.result is None]
    found.cells, found.done = len(grid.cells), len(grid.cells) - len(lacking)
    told = found.about.get("lacking")
    if lacking != told:
        more = [one for one in lacking if not isinstance(told, list) or one not in told]
        found.problems.append(
            f"{len(lacking)} of {len(grid.cells)} cells have no result that can be read, and "
            f"bundle.json says otherwise: {', '.join(more[:SHOWN])}"
        )


def _compare(reader: Reader, made: dict[str, bytes], found: Verdict) -> None:
    """Compare tables: all of them if the same code makes both, else the numbers of plain means."""
    bundled = [path for path in reader.files if path.startswith(f"{TABLES}/")]
    made_by = found.about.get("made_by")
    is_same_code = isinstance(made_by, dict) and made_by.get("tables") == code_of_tables()
    skipped = 0
    for path in sorted({*made, *bundled} if is_same_code else bundled):
        content = b"".join(reader.parts(path)) if path in reader.files else None
        if not is_same_code and path not in PLAIN:
            skipped += 1
        elif content is None or path not in made:
            found.problems.append(f"{path}: its cells make no such table, or it is missing")
        elif _is_same_table(path, content, made[path], whole=is_same_code):
            found.tables += 1
        else:
            found.problems.append(f"{path}: its cells make another table")
    if skipped:
        found.notes.append(
            f"another version of curvetune made the tables: the numbers of {len(PLAIN)} are "
            f"compared, as CSV; {skipped} others, which it may make in another way, are not"
        )


def _is_same_table(path: str, one: bytes, other: bytes, *, whole: bool) -> bool:
    """Say whether two tables are one; as CSV, whether their numbers are.

    Args:
        whole: whether a column may be missing in neither; else only what both have counts.
    """
    if one == other or not path.endswith(".csv"):
        return one == other
    these, those = (
        list(csv.DictReader(io.StringIO(content.decode("utf-8", "replace"))))
        for content in (one, other)
    )
    if len(these) != len(those):
        return False
    return all(
        _is_same(value, b.get(key))
        for a, b in zip(these, those, strict=True)
        for key, value in a.items()
        if whole or key in b
    )


def _is_same(one: str | None, other: str | None) -> bool:
    if one == other:
        return True
    try:
        return math.isclose(float(one or ""), float(other or ""), rel_tol=SAME, abs_tol=SAME)
    except ValueError:
        return False


def problems_text(path: Path, found: Verdict) -> str:
    """Return what is wrong with a bundle, for an error."""
    shown = [f"  {line}" for line in found.problems[:SHOWN]]
    left = len(found.problems) - len(shown)
    more = [f"  and {left} more"] if left else []
    head = f"{printable(path)}: not as it was bundled, {len(found.problems)} problem(s)"
    return "\n".join([head, *shown, *more])
