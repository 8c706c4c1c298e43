"""Every cell that a storage knows: those of its grids, and those that were begun."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curvetune.config import CellConfig, restored
from curvetune.config.load import stored_config
from curvetune.errors import ConfigError, CorruptError
from curvetune.store import CellStore
from curvetune.store.files import ID, read_json
from curvetune.store.names import CONFIG, DONE

MAX_NAMED = 5  # cells in a message


@dataclass
class Known:
    """What is recorded of a cell."""

    config: Mapping[str, Any]
    digest: str  # of the data's content
    command: str = ""  # of the first grid that it belongs to
    grids: list[str] = field(default_factory=list)


class Catalog:
    """The cells of one storage."""

    def __init__(self, storage: Path | str) -> None:
        """Read the grids of `storage`; what cells wrote themselves is read when it is asked for.

        Raises:
            CorruptError: a grid's file is damaged.
        """
        self.store = CellStore(storage)
        self._known: dict[str, Known] = {}
        for name in self.store.grids():
            for one in (name, *self.store.kept(name)):
                self._add(one, self.store.read_grid(one))
        self._begun = {path.parent.name for path in self.store.root.glob("cells/*/config.json")}
        self.ids = sorted({*self._known, *filter(ID.fullmatch, self._begun)})

    def find(self, prefix: str) -> str:
        """Return the id that begins with `prefix`.

        Raises:
            ConfigError: no cell has such an id, or several have.
        """
        found = [cell_id for cell_id in self.ids if cell_id.startswith(prefix.lower())]
        if prefix and len(found) == 1:
            return found[0]
        if prefix and found:
            raise ConfigError(
                f"cell {prefix!r} is ambiguous: {_named(found)}; give more digits of one of them"
            )
        near = self._near(prefix)
        hint = f" (nearest: {_named(near)})" if near else ""
        raise ConfigError(
            f"unknown cell {prefix!r} among the {len(self.ids)} of {self.store.root}{hint}; "
            f"`curvetune status GRID` lists them, and their first digits are enough"
        )

    def known(self, cell_id: str) -> Known:
        """Return what is recorded of a cell of `ids`.

        Raises:
            ConfigError: it does not say which data it was.
            CorruptError: its config is damaged.
        """
        if cell_id in self._known:
            return self._known[cell_id]
        path = self.store.folder(cell_id) / CONFIG
        config = restored(read_json(path))
        digest = config.pop("data_digest", None)
        if not isinstance(digest, str):
            raise ConfigError(f"{path}: has no data_digest, so it is of a very old version")
        return Known(config, digest)

    def config(self, cell_id: str) -> tuple[CellConfig, str]:
        """Return a cell's config and the digest of its data.

        Raises:
            ConfigError: this version of curvetune cannot read it.
            CorruptError: it is damaged.
        """
        known = self.known(cell_id)
        return stored_config(known.config, f"cell {cell_id}"), known.digest

    def done(self) -> list[str]:
        """Return the cells that have a DONE.json, right or wrong."""
        return [c for c in self.ids if (self.store.folder(c) / DONE).exists()]

    def _add(self, name: str, grid: Mapping[str, Any]) -> None:
        try:
            digest, command = str(grid["data_digest"]), str(grid.get("command", ""))
            for entry in grid["cells"]:
                known = Known(entry["config"], digest, command)
                self._known.setdefault(entry["cell_id"], known).grids.append(name)
        except (KeyError, TypeError) as error:
            raise CorruptError(f"grids/{name}.json: not the record of a grid ({error!r})") from None

    def _near(self, prefix: str) -> list[str]:
        """Return the ids whose beginnings are most like `prefix`."""
        beginnings = list(dict.fromkeys(cell_id[: len(prefix)] for cell_id in self.ids))
        close = difflib.get_close_matches(prefix.lower(), beginnings, n=3)
        return [cell_id for start in close for cell_id in self.ids if cell_id.startswith(start)]


def _named(ids: list[str]) -> str:
    more = f" and {len(ids) - MAX_NAMED} more" if len(ids) > MAX_NAMED else ""
    return ", ".join(ids[:MAX_NAMED]) + more
