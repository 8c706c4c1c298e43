"""`curvetune gc`: what in the storage no grid refers to, and what killed processes left."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curvetune.cli import options as o
from curvetune.cli.run import signs
from curvetune.errors import ConfigError, StorageError

if TYPE_CHECKING:
    from curvetune.store.garbage import Garbage

SCHEMA_VERSION = 1
WORDS = {
    "result": "done cells that no grid refers to",
    "cell": "cells that are not done and that no grid refers to, with their checkpoints",
    "probe": "probes that no grid refers to",
    "split": "splits that no grid refers to",
    "checkpoint": "checkpoints of what is done",
    "temporary": "what killed processes left",
    "image": "decoded images in this machine's cache that no command used for long",
}
CACHE_DAYS = 30.0
MAX_NAMED = 20  # of each kind


def gc(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only list what would be removed.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it without asking.")] = False,
    cells: Annotated[
        bool, typer.Option("--cells", help="Remove also done cells that no grid refers to.")
    ] = False,
    cache_days: Annotated[
        float,
        typer.Option("--cache-days", min=0, help="Keep decoded images that were used since."),
    ] = CACHE_DAYS,
    storage: o.Storage = None,
    as_json: o.AsJson = False,
) -> None:
    """Remove probes, splits, checkpoints and begun cells that no grid refers to.

    A grid refers to the cells of its newest command. Done cells stay unless --cells is given.
    What a running process works on always stays. Decoded images in this machine's cache that
    no command used for --cache-days go too; they are decoded again when they are needed.
    """
    folder = o.storage_or_default(storage)
    _check_folder(folder)
    from curvetune.system.progress import working

    with working("looking for what nobody needs", signs(as_json=as_json)):
        from curvetune.store.garbage import find_garbage

        found = [*find_garbage(folder), *_unused_images(cache_days)]
    wanted = [item for item in found if cells or item.kind != "result"]
    if not as_json:
        _print(folder, found, removed=wanted)
    removed: dict[Path, str] = {}
    if wanted and not dry_run:
        _confirm(wanted, yes=yes, ask=not as_json)
        with working("removing", signs(as_json=as_json)):
            removed = _remove(folder, wanted)
    if as_json:
        content = _json(folder, found, removed, dry_run=dry_run)
        typer.echo(json.dumps(content, indent=1))
    problems = [why for why in removed.values() if why]
    if problems:
        raise StorageError("\n".join([f"{len(problems)} were not removed:", *problems]))


def _unused_images(days: float) -> list["Garbage"]:
    """Return what of the cache nobody used for so long; paths are absolute."""
    from curvetune.data.stream import disk
    from curvetune.store.garbage import Garbage

    return [Garbage("image", path.absolute(), size) for path, size in disk.unused(86400 * days)]


def _check_folder(folder: Path) -> None:
    """Refuse a folder that is no storage.

    Raises:
        ConfigError: it is not there, or has nothing of ours.
    """
    from curvetune.store.names import CELLS, GRIDS, PROBES, SPLITS

    if not any((folder / name).is_dir() for name in (CELLS, PROBES, SPLITS, GRIDS)):
        raise ConfigError(f"{folder} holds no results; give their folder with --storage")


def _confirm(wanted: Sequence["Garbage"], *, yes: bool, ask: bool) -> None:
    """Return if the user agrees.

    Raises:
        ConfigError: nobody can be asked.
        typer.Exit: the answer is no.
    """
    if yes:
        return
    if not ask or not _is_terminal():
        raise ConfigError("nothing was removed: add --yes to remove it, or --dry-run to list it")
    if not typer.confirm(f"Remove {size_words(sum(i.size for i in wanted))}?", err=True):
        typer.echo("nothing was removed", err=True)
        raise typer.Exit


def _is_terminal() -> bool:
    return sys.stdin.isatty()


def _remove(folder: Path, wanted: Sequence["Garbage"]) -> dict[Path, str]:
    """Return for each path "", or why it was not removed."""
    from curvetune.store.garbage import remove_garbage

    results = dict(remove_garbage(folder, wanted))
    size = sum(item.size for item, why in results.items() if not why)
    typer.echo(f"removed {size_words(size)}", err=True)
    return {item.path: why for item, why in results.items()}


def _print(folder: Path, found: Sequence["Garbage"], removed: Sequence["Garbage"]) -> None:
    if not found:
        typer.echo(f"{folder}: nothing that nobody needs")
        return
    for kind, words in WORDS.items():
        items = [item for item in found if item.kind == kind]
        if not items:
            continue
        stays = "" if items[0] in removed else " (they stay: --cells removes them)"
        typer.echo(f"{words}: {len(items)}, {size_words(sum(i.size for i in items))}{stays}")
        for item in items[:MAX_NAMED]:
            typer.echo(f"  {item.path}  {size_words(item.size)}")
        if len(items) > MAX_NAMED:
            typer.echo(f"  and {len(items) - MAX_NAMED} more (--json names all)")
    from curvetune.store.names import GRIDS

    if not any((folder / GRIDS).glob("*.json")):
        typer.echo("this storage has no grid at all, so none refers to anything", err=True)


def _json(
    folder: Path, found: Sequence["Garbage"], removed: dict[Path, str], *, dry_run: bool
) -> dict[str, Any]:
    return {
        "schema_version": SCHEMA_VERSION,
        "storage": str(folder),
        "dry_run": dry_run,
        "bytes": sum(item.size for item in found),
        "bytes_removed": sum(item.size for item in found if removed.get(item.path) == ""),
        "items": [
            {
                "kind": item.kind,
                "path": str(item.path),
                "bytes": item.size,
                "removed": removed.get(item.path) == "",
                "problem": removed.get(item.path) or None,
            }
            for item in found
        ],
    }


def size_words(size: float) -> str:
    """Return bytes as people say them: 512 B, 3.4 MB."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
