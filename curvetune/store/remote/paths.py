"""Which mirror a path is in. Such paths travel to other machines, which have their own mirror."""

import functools
import os
import re
from collections.abc import Callable
from pathlib import Path

from curvetune.errors import CorruptError, StorageError
from curvetune.store.remote.address import Address, mirror_folder, mirrors_folder, parse_address
from curvetune.store.remote.bucket import Bucket
from curvetune.store.remote.mirror import Mirror
from curvetune.system.newfile import new_file
from curvetune.system.redact import shown

MIRROR_NAME = re.compile(r"[0-9a-f]{16}")
MARKER = ".mirror"  # in a mirror: the address that it is of


class MirrorPath(type(Path())):  # type: ignore[misc]
    """A path below a mirror, which travels to other machines as an address: they have their own."""

    def __reduce__(self) -> tuple[Callable[..., Path], tuple[str, ...]]:
        mirror = mirror_of(self)
        if mirror is None:
            return Path, (str(self),)
        return _arrived, (str(mirror.address), str(self.relative_to(mirror.root)))


def _arrived(address: str, inner: str) -> Path:
    """Return a path that came from another process, below the mirror on this machine."""
    mirror = open_mirror(parse_address(address))
    mirror.look()
    found: Path = MirrorPath(mirror.root) / inner
    return found


def open_mirror(address: Address) -> Mirror:
    """Return the mirror of an address, made if it is not there; asks the store nothing.

    Raises:
        StorageError: the folder cannot be made, or the store not be asked.
    """
    root = mirror_folder(address)
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        if _marked(root) != str(address):  # else others read it at this moment
            _mark(root, address)
    except OSError as error:
        raise StorageError(
            f"--storage {address}: its mirror {root} cannot be written ({error.strerror}); give a "
            f"folder that can be, with CURVETUNE_MIRRORS"
        ) from None
    return _mirror(root, address, os.getpid())


def mirror_of(path: Path) -> Mirror | None:
    """Return the mirror that a path is in; None for all others.

    Raises:
        StorageError: it is in the folder of a mirror that does not say of what. What is written
            there would never be in the object store.
    """
    home = mirrors_folder()
    if not path.is_absolute() or not path.is_relative_to(home) or path == home:
        return None
    root = home / path.relative_to(home).parts[0]
    if not MIRROR_NAME.fullmatch(root.name):
        return None
    marked = _marked(root)
    try:
        address = parse_address(marked)
        is_it = mirror_folder(address) == root
    except StorageError:
        is_it = False
    if not is_it:
        raise StorageError(
            f"{root}: is no mirror of {shown(marked) or 'any storage'} as the environment says "
            f"where that is; remove it, nothing is in there alone, and give the storage's address"
        )
    return _mirror(root, address, os.getpid())


def _marked(root: Path) -> str:
    """Return of which address a folder says that it is the mirror; empty if of none."""
    try:
        return (root / MARKER).read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return ""


def _mark(root: Path, address: Address) -> None:
    handle, temporary = new_file(root, MARKER)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(f"{address}\n")
    os.replace(temporary, root / MARKER)


@functools.lru_cache(maxsize=8)
def _mirror(root: Path, address: Address, _pid: int) -> Mirror:
    return Mirror(root, Bucket(address))


def check_again(path: Path, is_right: Callable[[], bool]) -> bool:
    """Say whether a file is right once it was brought anew: a copy here may be damaged."""
    mirror = mirror_of(path)
    if mirror is None:
        return False
    path.unlink(missing_ok=True)
    try:
        return mirror.pull(path) and is_right()
    except CorruptError:
        return False
