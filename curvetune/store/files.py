"""Writing so that a reader never sees half a file, and reading so that a broken one is noticed.

Every file is written under a temporary name in its own folder, flushed to the disk and renamed.
Arrays are kept as safetensors (arrays.py) or npy; nothing here reads or writes a pickle.
"""

import errno
import functools
import hashlib
import json
import os
import re
import shutil
import signal
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from curvetune.errors import CorruptError, LostLeaseError, StorageError, StorageFullError
from curvetune.store.checksums import has_sha256, sha256
from curvetune.store.plain import MAX_JSON_BYTES, check_inside, read_plain
from curvetune.store.remote.address import is_address, parse_address
from curvetune.store.remote.bucket import ThereError
from curvetune.store.remote.paths import MirrorPath, check_again, mirror_of, open_mirror
from curvetune.system.json_text import json_text
from curvetune.system.newfile import new_file

SEAL = "sha256"  # of all that a published file says beside it
ID = re.compile(r"[0-9a-f]{16}")


def open_storage(root: Path | str) -> Path:
    """Return the storage folder as an absolute path, made if missing and known to be writable.

    Of an address (s3://bucket/prefix) that is its mirror, brought up to date.

    Raises:
        StorageError: it cannot be made, read or written.
    """
    if is_address(root):
        mirror = open_mirror(parse_address(root))
        mirror.refresh(0.0)
        mirror.now()  # writes and removes: so it is known that both are allowed
        return MirrorPath(mirror.root)
    path = Path(root).expanduser().absolute()
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise StorageError(
            f"--storage {path}: cannot be written ({error.strerror}); give a folder that can be, "
            f"with --storage or CURVETUNE_STORAGE"
        ) from None
    return path if mirror_of(path) is None else MirrorPath(path)


def address_of(root: Path) -> str:
    """Return the address that a storage folder mirrors; empty if it is an ordinary one."""
    mirror = mirror_of(root / "any")
    return "" if mirror is None else str(mirror.address)


def reading(root: Path | str) -> Path:
    """Return the folder to read a storage from: itself, or the mirror of an address.

    Raises:
        StorageError: what the address names cannot be read.
    """
    return open_storage(root) if is_address(root) else Path(root)


def refresh(root: Path, *, now: bool = False) -> None:
    """Bring what others wrote to the object store that `root` mirrors; else do nothing.

    Args:
        now: whatever was brought a few seconds ago.

    Raises:
        StorageError: the object store cannot be read.
    """
    if (mirror := mirror_of(root)) is not None:
        mirror.refresh(0.0) if now else mirror.refresh()


def remove(*paths: Path) -> None:
    """Remove files in this order, those that are there, wherever the storage is.

    Raises:
        OSError: one cannot be removed.
        StorageError: it cannot be removed from the object store.
    """
    if paths and (mirror := mirror_of(paths[0])) is not None:
        mirror.remove(paths)
    for path in paths:
        path.unlink(missing_ok=True)


def folder_of(root: Path, kind: str, name: str) -> Path:
    """Return `root/kind/name` for a hexadecimal id, refusing anything that could leave the root.

    Raises:
        StorageError: it is a link out of the root.
    """
    if not ID.fullmatch(name):
        raise ValueError(f"an id is 16 hexadecimal digits, got {name!r}")
    folder = root / kind / name
    check_inside(root, folder)
    return folder


def write_atomic(
    path: Path, content: bytes | Iterable[bytes], *, durable: bool = True, once: bool = False
) -> None:
    """Write `content` to `path` so that a reader sees the old file or the new one, nothing else.

    Args:
        content: all of it, or its parts in order.
        durable: wait until the disk has the content; False is for progress that a power cut may
            lose. A reader sees old or new content in both cases.
        once: refuse to replace a file.

    Raises:
        LostLeaseError: `once`, and the file is there.
        StorageError: it cannot be written.
    """
    size = 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = new_file(path.parent, f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                for part in [content] if isinstance(content, bytes) else content:
                    size += len(part)
                    file.write(part)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
            fail_at("written", path)
            _put(Path(temporary), path, once=once)
            fail_at("renamed", path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise cannot_write(path, error, size) from error


def cannot_write(path: Path, error: OSError, size: int) -> StorageError:
    """Return what to raise where `size` bytes could not be written to `path`."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return StorageError(f"{path}: cannot be written ({error.strerror})")
    try:
        free = f"{shutil.disk_usage(path.parent).free / 1e6:.1f} MB are free"
    except OSError:
        free = "how much is free is unknown"
    return StorageFullError(
        f"{path}: no space left for {size / 1e6:.1f} MB ({free}); nothing that is done is lost: "
        f"free some space (`curvetune gc`, `curvetune plan` says what a grid needs) and run the "
        f"same command again"
    )


def fail_at(step: str, path: Path) -> None:
    """Kill this process if CURVETUNE_FAILPOINT says "step:name"; for tests of what a kill leaves.

    Steps are `written` (under its temporary name), `put` (into an object store) and `renamed`; the
    name is the file's.
    """
    if os.environ.get("CURVETUNE_FAILPOINT") == f"{step}:{path.name}":
        os.kill(os.getpid(), signal.SIGKILL)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write `content` to `path` as JSON, atomically.

    What publishes a result is JSON: its folder is synced, so that this rename, and that of every
    file which was written there before, survives a power cut.
    """
    write_atomic(path, encode(content))
    _sync_folder(path.parent)


def publish_json(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """Write `content` to `path` once and for ever, sealed; return it with its seal.

    Raises:
        LostLeaseError: it is there already; another process was first.
        StorageError: it cannot be written.
    """
    published = sealed(content)
    write_atomic(path, encode(published), once=True)
    _sync_folder(path.parent)
    return published


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return `content` with the seal that `read_published` looks for."""
    body = {key: value for key, value in content.items() if key != SEAL}
    return {**body, SEAL: _seal(body)}


def read_published(path: Path) -> dict[str, Any]:
    """Return what `publish_json` wrote to `path`, to the last byte, or a file of before the seal.

    Raises:
        CorruptError: it is missing, or not what was written.
    """
    content, raw = _read_json(path)
    if SEAL not in content and content.get("schema_version") == 1:
        return content
    try:
        is_whole = raw == encode(content) and _is_sealed(content, raw)
    except (ValueError, RecursionError):  # what JSON can hold, but we never write
        is_whole = False
    if not is_whole:
        raise CorruptError(f"{path}: its content is not what its seal says")
    return content


def _is_sealed(content: dict[str, Any], raw: bytes) -> bool:
    """Say whether the seal of a file is that of all else in it.

    Args:
        raw: the file, which is `encode(content)`. Where the seal is its last line, as we write it,
            what is sealed is the rest; to encode that anew would take as long as all else here.
    """
    if next(reversed(content), None) == SEAL and (end := raw.rfind(b",\n")) >= 0:
        rest = hashlib.sha256(raw[:end] + b"\n}\n").hexdigest()
        return bool(content[SEAL] == rest)
    return bool(content.get(SEAL) == sealed(content)[SEAL])


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object at `path`.

    Raises:
        CorruptError: it is missing or not a JSON object.
    """
    return _read_json(path)[0]


def _read_json(path: Path) -> tuple[dict[str, Any], bytes]:
    """Return the JSON object at `path`, and the bytes that it is read from."""
    try:
        raw = read_plain(path, MAX_JSON_BYTES)
        content = json.loads(raw.decode("utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CorruptError(f"{path}: cannot be read ({error})") from None
    if not isinstance(content, dict):
        raise CorruptError(f"{path}: not a JSON object")
    return content, raw


def check_owner(folder: Path, published: Mapping[str, Any], key: str) -> None:
    """Check that what a folder holds was published there, and not copied from another one.

    Raises:
        CorruptError: its `key` is another folder's name.
    """
    if published.get(key) != folder.name:
        raise CorruptError(f"{folder}: holds what was published as {published.get(key)!r}")


def check_files(folder: Path, published: Mapping[str, Any]) -> None:
    """Check every file that a published JSON lists: {"files": {name: SHA-256}}.

    One that is only in an object store is right if its ETag is the published one. Any other is
    brought. What is here and damaged is brought anew.

    Raises:
        CorruptError: one is missing or not what its checksum says, or the list is none.
    """
    files = published.get("files")
    if not isinstance(files, dict):
        raise CorruptError(f"{folder}: its list of files is {files!r}")
    here = f"{folder}{os.sep}"  # paths of text, since thousands of results have four files each
    for name, checksum in files.items():
        if not _is_plain_name(name):
            raise CorruptError(f"{folder}: lists {name!r}, which is no plain file name")
        if has_sha256(here + name, checksum):
            continue
        if not _is_right(folder / name, checksum, published.get("etags")):
            raise CorruptError(f"{folder / name}: its content is not what its checksum says")


@functools.lru_cache(maxsize=64)  # the same few names in every folder
def _is_plain_name(name: str) -> bool:
    return Path(name).name == name and name not in ("", ".", "..")


def published_etags(folder: Path, names: Iterable[str]) -> dict[str, Any]:
    """Return {"etags": {name: ETag}} of files that an object store has; nothing for a folder."""
    if (mirror := mirror_of(folder)) is None:
        return {}
    return {"etags": {name: mirror.etag(folder / name) for name in names}}


def _is_right(path: Path, checksum: object, etags: object) -> bool:
    # os.path: a name that a file system cannot have is one that is not there
    if not os.path.exists(path) and (mirror := mirror_of(path)) is not None:
        etag = etags.get(path.name) if isinstance(etags, dict) else None
        if mirror.is_still(path, etag):
            return True
    return sha256(path) == checksum or check_again(path, lambda: sha256(path) == checksum)


def encode(content: Mapping[str, Any]) -> bytes:
    """Return `content` as the bytes of our JSON files."""
    return json_text(content, allow_nan=False).encode() + b"\n"


def _seal(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(encode(content)).hexdigest()


def _put(temporary: Path, path: Path, *, once: bool) -> None:
    """Give a whole file its name: in the object store first, if the path is in a mirror."""
    if (mirror := mirror_of(path)) is None or mirror.key(path) is None:
        if once:
            _rename_once(str(temporary), path)
        else:
            os.replace(temporary, path)
        return
    try:
        etag = mirror.push(path, temporary, once=once)
    except ThereError:
        raise LostLeaseError(f"{path}: another process published it first") from None
    fail_at("put", path)
    os.replace(temporary, path)
    mirror.note(path, etag)


def _rename_once(temporary: str, path: Path) -> None:
    """Rename a file to `path` unless that exists: of two processes, one succeeds."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise LostLeaseError(f"{path}: another process published it first") from None
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        os.replace(temporary, path)  # no hard links here: the lease alone keeps others away
        return
    os.unlink(temporary)


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
