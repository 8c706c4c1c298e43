"""`curvetune bundle`, `verify` and `import`: a grid in one file, for the reader of a paper."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from curvetune.cli import options as o
from curvetune.cli.report import selected
from curvetune.cli.run import signs, tell
from curvetune.errors import SOME_FAILED, CorruptError

if TYPE_CHECKING:
    from curvetune.bundles.take import Taken
    from curvetune.bundles.verify import Verdict

SCHEMA_VERSION = 1
Bundle = Annotated[
    Path, typer.Argument(metavar="BUNDLE", help="A file that `curvetune bundle` made.")
]


def bundle(
    grid: Annotated[
        str, typer.Argument(metavar="GRID", help="Its name, as `curvetune status` lists it.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT.zip", help="A file that is not there yet.")],
    without_curves: Annotated[
        bool,
        typer.Option(
            "--without-curves",
            help="Leave the probes out, which are most of it. `import` then has the cells alone.",
        ),
    ] = False,
    without_models: Annotated[
        bool,
        typer.Option("--without-models", help="Leave the final classifiers of the cells out."),
    ] = False,
    select: Annotated[
        str, typer.Option("--select", metavar="WHICH", help="last, last10 or best, as in report.")
    ] = "last",
    only_last: o.OnlyLast = False,
    plugins: o.Plugins = None,
    storage: o.Storage = None,
    as_json: o.AsJson = False,
) -> None:
    """Write GRID into one file: tables, figures, and all that is needed to check and repeat it.

    It has the space, plugin sources, versions, seeds, devices, digests of the data, tests,
    published numbers, BibTeX of the methods, a README, and the cells, probes and splits themselves.
    The same grid gives the same bytes. Paths of this machine are not in it.
    """
    from curvetune.bundles.make import Wanted, make_bundle
    from curvetune.system.progress import working

    wanted = Wanted(selected(select), not without_curves, not without_models, tuple(plugins or ()))
    folder, name = o.storage_or_default(storage), o.part_of(grid, only_last=only_last)
    with working("bundling", signs(as_json=as_json)):
        made = make_bundle(folder, name, out, wanted, tell)
    if as_json:
        content = {"schema_version": SCHEMA_VERSION, "file": str(out), **made.__dict__}
        typer.echo(json.dumps(content, indent=1))
        return
    from curvetune.system.units import size_text

    typer.echo(out)
    tell(f"{made.files} files, {size_text(made.size)}; SHA-256 {made.sha256}")
    if made.lacking:
        tell(f"{made.lacking} of its cells have no result yet; the README lists them")


def verify(bundle: Bundle, as_json: o.AsJson = False) -> None:
    """Check that BUNDLE is as it was bundled, and compute its tables from its cells again.

    It needs no storage, no images and no plugin, and runs nothing of the bundle. That a bundle is
    whole does not say that its numbers are true: whoever makes one can make up a whole one. The
    SHA-256 that it prints is that of the file which was published, or it is another file.
    """
    from curvetune.bundles.verify import problems_text, verify_bundle
    from curvetune.system.progress import working

    with working("checking", signs(as_json=as_json)):
        found = verify_bundle(bundle)
    if as_json:
        typer.echo(json.dumps(_verdict_json(bundle, found), indent=1))
    if not found.is_whole:
        raise CorruptError(problems_text(bundle, found))
    if not as_json:
        _print_verdict(bundle, found)


def import_(
    bundle: Bundle,
    name: Annotated[
        str,
        typer.Option(
            "--name", metavar="NAME", help="What the grid is called here; else as in the bundle."
        ),
    ] = "",
    storage: o.Storage = None,
    as_json: o.AsJson = False,
) -> None:
    """Take the cells, probes and splits of BUNDLE into a storage, so that they are not run again.

    Each is checked as the storage checks its own. What is there already stays. What is damaged or
    missing is said and costs only itself. No plugin of a bundle is run: give it with --plugin when
    a grid is to run more of its cells. `curvetune offline import` is another command: it reads the
    results.jsonl of `offline run`, which has numbers alone.
    """
    from curvetune.bundles.take import take_bundle
    from curvetune.store import open_storage
    from curvetune.system.progress import working

    folder = open_storage(o.storage_or_default(storage))
    with working("importing", signs(as_json=as_json)) as at:
        taken = take_bundle(bundle, folder, name=name, at=at)
    _print_taken(bundle, taken, as_json=as_json)
    if taken.refused:
        raise typer.Exit(SOME_FAILED)


def _print_verdict(bundle: Path, found: "Verdict") -> None:
    from curvetune.bundles.readme import count
    from curvetune.system.units import size_text

    typer.echo(
        f"{bundle}: whole; {found.files} files, {size_text(found.size)}, SHA-256 {found.sha256}"
    )
    typer.echo(f"its {found.tables} tables come out of its cells again")
    words = f"{found.done} of {count(found.cells, 'cell')}, {count(found.probes, 'probe')}"
    typer.echo(f"grid {found.about['grid']}: {words}")
    for note in found.notes:
        tell(note)


def _verdict_json(bundle: Path, found: "Verdict") -> dict[str, object]:
    return {
        "schema_version": SCHEMA_VERSION,
        "file": str(bundle),
        "whole": found.is_whole,
        "sha256": found.sha256,
        "files": found.files,
        "size": found.size,
        "tables": found.tables,
        "problems": found.problems,
        "notes": found.notes,
        "grid": found.about.get("grid"),
        "cells": found.cells,
        "cells_done": found.done,
        "probes": found.probes,
    }


def _print_taken(bundle: Path, taken: "Taken", *, as_json: bool) -> None:
    from curvetune.bundles.readme import count
    from curvetune.bundles.take import KINDS, WORDS

    if as_json:
        parts = {kind: {"new": taken.new[kind], "there": taken.there[kind]} for kind in KINDS}
        content = {"schema_version": SCHEMA_VERSION, "grid": taken.grid, **parts}
        recorded = {"recorded": taken.is_recorded, "refused": taken.refused}
        typer.echo(json.dumps({**content, **recorded}, indent=1))
        return
    counts = {kind: (taken.new[kind] + taken.there[kind], taken.new[kind]) for kind in KINDS}
    words = [
        f"{count(every, WORDS[kind])} ({new} new)"
        for kind, (every, new) in reversed(counts.items())
        if every
    ]
    typer.echo(f"{taken.grid}: {', '.join(words) or 'nothing'}")
    for line in taken.refused:
        tell(f"not taken: {line}")
    if taken.is_recorded:
        tell(f"to see it: curvetune report {taken.grid}")
