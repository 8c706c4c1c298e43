"""What a bundle has, checked as a storage checks its own: seal, checksums, and its address.

Each item is put into a storage of its own first, which is thrown away.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from curvetune.bundles.layout import stored
from curvetune.bundles.reader import Reader, said
from curvetune.config import restored
from curvetune.config.fingerprint import fingerprint
from curvetune.errors import CorruptError
from curvetune.offline.lines import check_address
from curvetune.store import CellStore, CurveStore
from curvetune.store.arrays import load_arrays
from curvetune.store.files import check_files, check_owner, read_json, read_published, write_atomic
from curvetune.store.names import CELLS, CONFIG, DONE, GRIDS, PROBES, RELABELS, SPLITS
from curvetune.store.plain import MAX_JSON_BYTES
from curvetune.store.records import checked_grid
from curvetune.store.relabels import MAX_BYTES, relabel_digest
from curvetune.store.splits import split_file


class Checked:
    """Reads items of a bundle; each is only returned if it is whole and what its name says."""

    def __init__(self, reader: Reader, root: Path) -> None:
        """Check in the empty folder `root`."""
        self._reader = reader
        self._root = root
        self.cells = CellStore(root)
        self.curves = CurveStore(root)

    def cell(self, cell_id: str) -> dict[str, Any]:
        """Return the result of a cell, whose files are then in `cells`.

        Raises:
            CorruptError: it is damaged, or something of it is missing.
            ConfigError: it is of another cell, or of another version of curvetune.
        """
        folder = self._bring(CELLS, cell_id)
        done = read_published(folder / DONE)
        check_owner(folder, done, "cell_id")
        check_files(folder, done)
        config = restored(read_json(folder / CONFIG))
        digest = str(config.pop("data_digest", ""))
        check_address(cell_id, config, digest, f"cell {cell_id}", done)
        return done

    def probe(self, probe_id: str) -> dict[str, Any]:
        """Return the manifest of a probe, whose files are then in `curves`.

        Raises:
            CorruptError: it is damaged, missing, or of something else.
        """
        self._bring(PROBES, probe_id)
        manifest = self.curves.manifest(probe_id)
        self.curves.read(probe_id)
        _check_identity(manifest.get("identity"), probe_id)
        return manifest

    def split(self, split_id: str) -> Path:
        """Return the file of a split.

        Raises:
            CorruptError: it is damaged, or of something else.
        """
        path = split_file(self._root, split_id)
        write_atomic(path, self._reader.parts(stored(SPLITS, path.name)), durable=False)
        _, tree = load_arrays(path)
        _check_identity(tree.get("identity"), split_id)
        return path

    def relabel(self, digest: str) -> bytes:
        """Return the file of corrected labels.

        Raises:
            CorruptError: it is damaged.
        """
        content = self._reader.read(stored(RELABELS, f"{digest}.csv"), MAX_BYTES)
        if relabel_digest(content) != digest:
            raise CorruptError("its content is not what its name says")
        return content

    def text(self, *inside: str) -> Any:
        """Return what a JSON file of the storage part holds.

        Raises:
            CorruptError: it is missing or damaged.
        """
        try:
            return json.loads(self._reader.read(stored(*inside), MAX_JSON_BYTES))
        except (ValueError, RecursionError) as error:
            raise CorruptError(f"no JSON ({said(error)})") from None

    def record(self, name: str) -> dict[str, Any]:
        """Return the record of the grid, each of whose cells is the one that its id says.

        Raises:
            CorruptError: it is missing, damaged, or none.
            ConfigError: a cell is another one, or of another version of curvetune.
        """
        found = self.text(GRIDS, f"{name}.json")
        if not isinstance(found, dict):
            raise CorruptError("not the record of a grid")
        record = checked_grid(self._root / f"{name}.json", found)
        digest = str(record.get("data_digest", ""))
        for cell in record["cells"]:
            check_address(cell["cell_id"], cell["config"], digest, "its record", record)
        return record

    def drop(self, kind: str, name: str) -> None:
        """Free the space of an item that is done with."""
        shutil.rmtree(self._root / kind / name, ignore_errors=True)

    def _bring(self, kind: str, name: str) -> Path:
        folder = self._root / kind / name
        inside = stored(kind, name) + "/"
        for path in self._reader.files:
            if path.startswith(inside):
                target = folder / path.removeprefix(inside)
                write_atomic(target, self._reader.parts(path), durable=False)
        return folder


def _check_identity(identity: Any, address: str) -> None:
    """Refuse what is of something else than its address says.

    Raises:
        CorruptError: it is.
    """
    try:
        if fingerprint(identity) == address:
            return
    except (TypeError, ValueError, AttributeError):
        pass
    raise CorruptError("it is of something else than its address says")
