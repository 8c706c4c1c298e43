"""Results as lines of text, one JSON object for each finished cell, to carry between machines.

A line holds all that DONE.json and config.json do, so it is a result in any storage that it is put
into. The files behind it (history, classifier, values per sample) stay where they were made.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from curvetune.config import restored
from curvetune.config.load import stored_config
from curvetune.errors import ConfigError
from curvetune.store.cells import SCHEMA_VERSION, CellStore
from curvetune.store.files import read_json, write_atomic, write_json
from curvetune.store.names import CONFIG

FILE = "results.jsonl"  # in a storage: the lines of all its finished cells
Line = dict[str, Any]
OWN = ("schema_version", "cell_id", "config", "data_digest")  # what a line has beside the result


def result_line(store: CellStore, cell_id: str) -> Line | None:
    """Return the line of a cell; None if it has no whole result."""
    done = store.result(cell_id)
    if done is None:
        return None
    config = restored(read_json(store.folder(cell_id) / CONFIG))
    digest = config.pop("data_digest")
    del done["files"]
    return {**done, "config": config, "data_digest": digest}


def read_lines(path: Path) -> list[Line]:
    """Return the lines of a file, each one checked to be a result of the cell that it names.

    Raises:
        ConfigError: the file cannot be read, or a line is not a result.
    """
    try:
        texts = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{path}: cannot be read ({error}); give a {FILE} that `curvetune offline run` wrote"
        ) from None
    return [_checked(text, f"{path}: line {n}") for n, text in enumerate(texts, 1)]


def add_lines(path: Path, lines: Iterable[Line]) -> None:
    """Add lines to a file, atomically, but none of a cell that it has already.

    Raises:
        ConfigError: the file has a line that is not a result.
        StorageError: it cannot be written.
    """
    old = read_lines(path) if path.exists() else []
    known = {line["cell_id"] for line in old}
    new = [line for line in lines if line["cell_id"] not in known]
    text = "".join(json.dumps(line, allow_nan=False) + "\n" for line in [*old, *new])
    write_atomic(path, text.encode())


def import_lines(store: CellStore, lines: Iterable[Line]) -> int:
    """Make each line a result in the storage, unless it has one; return how many were new."""
    new = 0
    for line in lines:
        if store.result(line["cell_id"]) is not None:
            continue
        config = line["config"] | {"data_digest": line["data_digest"]}
        write_json(store.folder(line["cell_id"]) / CONFIG, config)
        result = {key: value for key, value in line.items() if key not in OWN}
        store.publish(line["cell_id"], result, files=[CONFIG])
        new += 1
    return new


def _checked(text: str, where: str) -> Line:
    """Return the line that `text` is, if its config has the address that it claims."""
    try:
        line = json.loads(text)
        config, digest, cell_id = restored(line["config"]), line["data_digest"], line["cell_id"]
        version, _ = line["schema_version"], line["accuracy"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ConfigError(
            f"{where}: not a result ({type(error).__name__}: {error}); allowed is one JSON object "
            f"of `curvetune offline run`; remove the line"
        ) from None
    if version != SCHEMA_VERSION:
        raise ConfigError(
            f"{where}: schema_version {version}; allowed is {SCHEMA_VERSION}: read it with the "
            f"commit that made it, {_commit(line)}"
        )
    check_address(cell_id, config, digest, where, line)
    return {**line, "config": config}


def check_address(
    cell_id: object,
    config: Mapping[str, Any],
    digest: str,
    where: str,
    result: Mapping[str, Any],
) -> None:
    """Refuse a result that is not of the cell that it names.

    Args:
        config: of the cell, as this version of curvetune has it.
        digest: of the data.
        where: the result is from, for an error.

    Raises:
        ConfigError: the config has another address, or is none.
    """
    address = stored_config(config, where).cell_id(digest)
    if address != cell_id:
        raise ConfigError(
            f"{where}: cell_id is {cell_id}, but {address} is the address of its config; it was "
            f"changed, or made by other code: read it with the commit that made it, "
            f"{_commit(result)}"
        )


def _commit(line: Mapping[str, Any]) -> str:
    return str(line.get("commit") or "unknown")
