"""Where and with what a command runs: defaults from CURVETUNE_* environment variables.

None of these decide a number, so none of them enter a cell's identity. A command-line option wins
over the environment, the environment over the default.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path


def _storage() -> Path:
    return Path(os.environ.get("CURVETUNE_STORAGE", "curvetune-results"))


def _data_dir() -> Path | None:
    given = os.environ.get("CURVETUNE_DATA_DIR")
    return None if given is None else Path(given)


@dataclass(frozen=True)
class Settings:
    """Read with `Settings()`: CURVETUNE_STORAGE, CURVETUNE_DATA_DIR."""

    storage: Path = field(default_factory=_storage)
    data_dir: Path | None = field(default_factory=_data_dir)
