"""What a grid may not do where it runs as a job of Ray."""

import re
from pathlib import Path

from curvetune.errors import ConfigError, printable

# Of a Ray that runs, in its temporary folder (ray/_private/node.py); a job's own folder is in it.
SESSION = re.compile(r"session_\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_\d+_\d+")
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:/")  # of an object store, also after Path() had it


def check_lasting(storage: Path | str) -> None:
    """Refuse to keep results in the folder of a Ray session, which goes with its cluster.

    Raises:
        ConfigError: they would be there.
    """
    if ADDRESS.match(str(storage)):
        return
    folder = Path(storage).resolve()
    if any(SESSION.fullmatch(part) for part in folder.parts):
        raise ConfigError(
            f"--storage {printable(storage)}: is in the folder of a Ray session, which goes with "
            f"its cluster ({printable(folder)}); give a folder that all nodes share, by its "
            f"absolute path"
        )
