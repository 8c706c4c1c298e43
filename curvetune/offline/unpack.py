"""Puts what pack.py packed into a storage.

Whoever has come further with a cell or a probe, the pack or the storage, wins.
"""

import gzip
import io
import re
import shutil
import tarfile
import zlib
from pathlib import Path

import numpy as np

from curvetune.config.fingerprint import GRID_NAME
from curvetune.errors import ConfigError, CorruptError
from curvetune.store import CurveStore
from curvetune.store.files import ID, read_json, write_atomic
from curvetune.store.names import CURVES, DONE, GRIDS, HISTORY, MANIFEST, ROUNDED, SPLITS

MEMBER = re.compile(
    rf"{GRIDS}/{GRID_NAME.pattern}\.json|{SPLITS}/{ID.pattern}\.safetensors"
    rf"|(cells|probes)/{ID.pattern}/[a-zA-Z]+\.[a-z]+"
)


def parts(file: Path) -> dict[Path, tuple[int, int]]:
    """Return the parts of `file` that are there, each with its number and how many there are."""
    pattern = re.compile(re.escape(file.name) + r"\.(\d+)of(\d+)")
    found = {path: pattern.fullmatch(path.name) for path in file.parent.glob("*")}
    return {path: (int(match[1]), int(match[2])) for path, match in found.items() if match}


def unpack(file: Path, storage: Path) -> str:
    """Put the content of the parts of `file` into a storage; return in words what was new.

    Raises:
        ConfigError: parts are missing.
        CorruptError: they are damaged, or not made by `pack`.
    """
    folders: dict[str, dict[str, bytes]] = {}
    for path, content in _read(file):
        folder, _, name = path.rpartition("/")
        folders.setdefault(folder, {})[name] = content
    new = [folder for folder, files in folders.items() if _put(storage, folder, files)]
    taken = [folder for folder in new if folder.startswith(("cells/", "probes/"))]
    return f"unpacked {file.name}: {len(taken)} cells and probes taken from it"


def _read(file: Path) -> list[tuple[str, bytes]]:
    """Return the members of a pack, each with its path in the storage."""
    found = sorted(parts(file).items(), key=lambda part: part[1])
    numbers = [number for _, number in found]
    if not found or numbers != [(k + 1, len(found)) for k in range(len(found))]:
        names = ", ".join(path.name for path, _ in found) or "none"
        raise ConfigError(
            f"--unpack {file}: needs {file.name}.1ofN to {file.name}.NofN and no others, found "
            f"{names}; copy all parts of one pack into one folder"
        )
    content = b"".join(path.read_bytes() for path, _ in found)
    try:
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(content))) as tar:
            return [(_checked(member.name), _member(tar, member)) for member in tar]
    except (OSError, EOFError, zlib.error, tarfile.TarError, ValueError) as error:
        raise CorruptError(
            f"--unpack {file}: its parts are damaged or not made by --pack ({error}); "
            f"copy them again"
        ) from None


def _checked(name: str) -> str:
    """Return the path of a member, which must not lead out of the storage."""
    if not MEMBER.fullmatch(name):
        raise ValueError(f"{name!r} has no place in a storage")
    return name


def _member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    if file is None:
        raise ValueError(f"{member.name!r} is not a file")
    return file.read()


def _put(storage: Path, folder: str, files: dict[str, bytes]) -> bool:
    """Write the files of one folder, unless the storage has come as far; say whether it did."""
    target = storage / folder
    if folder in (GRIDS, SPLITS):
        for name, content in files.items():
            if not (target / name).exists():
                write_atomic(target / name, content)
        return False
    there = {path.name: path.read_bytes() for path in target.glob("*.json*")}
    if _progress(files) <= _progress(there):
        return False
    shutil.rmtree(target, ignore_errors=True)
    for name, content in files.items():
        write_atomic(target / name, content)
    if ROUNDED in files and CURVES in files:
        _publish_rounded(storage, target)
    return True


def _progress(files: dict[str, bytes]) -> tuple[bool, int]:
    """Return whether a cell or a probe is done, and its epochs."""
    done = DONE in files or MANIFEST in files
    return done, len(files.get(HISTORY, b"").splitlines())


def _publish_rounded(storage: Path, folder: Path) -> None:
    """Turn curves of 16 bits into a stored probe that says so."""
    curves = np.load(folder / CURVES, allow_pickle=False).astype(np.float32)
    manifest = read_json(folder / MANIFEST)
    info = {key: value for key, value in manifest.items() if key not in ("files", "shape")}
    store = CurveStore(storage)
    store.discard(folder.name)
    store.write(folder.name, curves, info)
