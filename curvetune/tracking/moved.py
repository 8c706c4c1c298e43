"""A storage that was moved or copied: MLflow's database goes on naming the old place.

It keeps where the files of each experiment and run are, as whole addresses, and has no call to
change them. Left alone, what a copy logs would go into the storage that it was copied from.
"""

import contextlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from curvetune.tracking.address import folder_in
from curvetune.tracking.base import ARTIFACTS, DATABASE

BUSY_S = 20.0  # MLflow's own patience with a database that another process writes to

# MLflow 3's tables; `moved` is an address of before.
HAS_TABLES = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'experiments'"
EXPERIMENTS = "SELECT experiment_id, artifact_location FROM experiments"
SET_EXPERIMENT = "UPDATE experiments SET artifact_location = :now WHERE experiment_id = :id"
SET_RUNS = """
UPDATE runs SET artifact_uri = :now || substr(artifact_uri, length(:moved) + 1)
WHERE experiment_id = :id AND substr(artifact_uri, 1, length(:moved) + 1) = :moved || '/'
"""


def bring_along(database: Path, storage: Path) -> list[Path]:
    """Let a database name the files of `storage` as it is now; return where they were said to be.

    A database in the storage has moved with it. One that is elsewhere may serve several storages;
    there only what is gone is corrected, and only if its files are here now.

    Raises:
        sqlite3.Error: it cannot be read or written.
    """
    if not database.is_file():
        return []
    own = database.absolute().parent == storage.absolute()
    with contextlib.closing(sqlite3.connect(database, timeout=BUSY_S)) as connection, connection:
        moved = list(_moved(connection, storage.absolute(), own=own))
        for experiment, address, here, _ in moved:
            values = {"id": experiment, "moved": address, "now": here.as_uri()}
            connection.execute(SET_EXPERIMENT, values)
            connection.execute(SET_RUNS, values)
    return sorted({there for _, _, _, there in moved})


def moved_words(database: Path, moved: Sequence[Path], storage: Path | str) -> str:
    """Return what `bring_along` did, for people."""
    there = ", ".join(map(str, moved))
    return (
        f"{database}: the storage was moved or copied; MLflow's files are now those in "
        f"{Path(storage).absolute() / ARTIFACTS}, and no longer those in {there}"
    )


def _moved(
    connection: sqlite3.Connection, storage: Path, *, own: bool
) -> Iterator[tuple[int, str, Path, Path]]:
    """Yield what is to be corrected: id, address, folder here, and the storage of before."""
    if not connection.execute(HAS_TABLES).fetchone():
        return
    for experiment, address in connection.execute(EXPERIMENTS).fetchall():
        there = folder_in(address or "")
        if there is None or there.parent.name != ARTIFACTS:  # not one of ours
            continue
        here, before = storage / ARTIFACTS / there.name, there.parents[1]
        if not _is_same(before, storage) and (
            _has_moved(there, here) if own else here.is_dir() and not before.exists()
        ):
            yield experiment, address.rstrip("/"), here, before


def _has_moved(there: Path, here: Path) -> bool:
    """Say whether an experiment of the storage's own database is to be kept in it from now on.

    It stays where it is if another storage without a database uses this one.
    """
    is_guest = there.is_dir() and not here.is_dir()
    return not is_guest or (there.parents[1] / DATABASE).exists()


def _is_same(one: Path, other: Path) -> bool:
    """Say whether two paths are one folder, as by a link or a second mount."""
    try:
        return one == other or os.path.samefile(one, other)
    except OSError:
        return False
