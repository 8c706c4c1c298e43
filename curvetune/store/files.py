"""Writing so that a reader never sees half a file, and reading so that a broken one is noticed.

Every file is written under a temporary name in its own folder, flushed to the disk and renamed.
Arrays are kept as safetensors or npy; nothing here reads or writes a pickle.
"""

import hashlib
import json
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from curvetune.errors import CorruptError, StorageError

ID = re.compile(r"[0-9a-f]{16}")


def open_storage(root: Path | str) -> Path:
    """Return the storage folder as an absolute path, made if missing and known to be writable.

    Raises:
        StorageError: it cannot be made or written.
    """
    path = Path(root).expanduser().absolute()
    if "://" in str(root):
        raise StorageError(
            f"--storage {root}: only folders are supported; mount it and give a path"
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise StorageError(
            f"--storage {path}: cannot be written ({error.strerror}); give a folder that can be, "
            f"with --storage or CURVETUNE_STORAGE"
        ) from None
    return path


def folder_of(root: Path, kind: str, name: str) -> Path:
    """Return `root/kind/name` for a hexadecimal id, refusing anything that could leave the root."""
    if not ID.fullmatch(name):
        raise ValueError(f"an id is 16 hexadecimal digits, got {name!r}")
    return root / kind / name


def write_atomic(path: Path, content: bytes, *, durable: bool = True) -> None:
    """Write `content` to `path` so that a reader sees the old file or the new one, nothing else.

    Args:
        durable: wait until the disk has the content; False is for progress that a power cut may
            lose. A reader sees old or new content in both cases.

    Raises:
        StorageError: it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(content)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise StorageError(f"{path}: cannot be written ({error.strerror})") from error


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` to `path` as JSON, atomically.

    What publishes a result is JSON: its folder is synced, so that this rename, and that of every
    file which was written there before, survives a power cut.
    """
    write_atomic(path, json.dumps(content, indent=1, allow_nan=False).encode() + b"\n")
    _sync_folder(path.parent)


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object at `path`.

    Raises:
        CorruptError: it is missing or not a JSON object.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CorruptError(f"{path}: cannot be read ({error})") from None
    if not isinstance(content, dict):
        raise CorruptError(f"{path}: not a JSON object")
    return content


def sha256(path: Path) -> str:
    """Return the SHA-256 of the file at `path` in hexadecimal.

    Raises:
        CorruptError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise CorruptError(f"{path}: cannot be read ({error.strerror})") from None


def save_arrays(
    path: Path,
    arrays: Mapping[str, np.ndarray[Any, Any]],
    tree: Mapping[str, Any] | None = None,
    *,
    durable: bool = True,
) -> None:
    """Write named arrays and a JSON `tree` to one safetensors file, atomically, with a checksum."""
    content = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    text = json.dumps(tree or {})
    # One entry: safetensors writes several in random order, and equal states are to be equal files.
    header = json.dumps({"tree": text, "sha256": _checksum(content, text)})
    write_atomic(path, save(content, metadata={"curvetune": header}), durable=durable)


def load_arrays(path: Path) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any]]:
    """Return the arrays and the JSON tree that `save_arrays` wrote to `path`.

    Raises:
        CorruptError: the file is missing, short or not what its checksum says.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            header = json.loads((file.metadata() or {}).get("curvetune", "{}"))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError, ValueError) as error:
        raise CorruptError(f"{path}: cannot be read ({error})") from None
    text = header.get("tree", "")
    if header.get("sha256") != _checksum(arrays, text):
        raise CorruptError(f"{path}: its content is not what its checksum says")
    tree: dict[str, Any] = json.loads(text)
    return arrays, tree


def _checksum(arrays: Mapping[str, np.ndarray[Any, Any]], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


def _sync_folder(folder: Path) -> None:
    """Make a rename in `folder` survive a power cut (where the system lets a folder be synced)."""
    try:
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise StorageError(f"{folder}: cannot be written ({error.strerror})") from error
