"""Puts what pack.py packed into a storage.

Whoever has come further with a cell or a probe, the pack or the storage, wins. All that the pack
holds is known to be whole before anything of it is written.
"""

import gzip
import io
import re
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path

import numpy as np

from curvetune.config.fingerprint import GRID_NAME
from curvetune.errors import ConfigError, CorruptError
from curvetune.offline.parts import parts
from curvetune.store import CellStore, CurveStore
from curvetune.store.arrays import load_matrix
from curvetune.store.files import (
    ID,
    check_files,
    check_owner,
    read_published,
    write_atomic,
)
from curvetune.store.names import (
    CURVES,
    DONE,
    GRIDS,
    HISTORY,
    MANIFEST,
    MARGINS,
    ROUNDED,
    SPLITS,
)

MEMBER = re.compile(
    rf"{GRIDS}/{GRID_NAME.pattern}\.json|{SPLITS}/{ID.pattern}\.safetensors"
    rf"|(cells|probes)/{ID.pattern}/[a-zA-Z]+\.[a-z]+"
)


def unpack(file: Path, storage: Path) -> str:
    """Put the content of the parts of `file` into a storage; return in words what was new.

    Raises:
        ConfigError: parts are missing.
        CorruptError: they are damaged, or not made by `pack`.
    """
    folders = _read(file)
    new = [folder for folder, files in folders.items() if _put(storage, folder, files)]
    taken = [folder for folder in new if folder.startswith(("cells/", "probes/"))]
    return f"unpacked {file.name}: {len(taken)} cells and probes taken from it"


def _read(file: Path) -> dict[str, dict[str, bytes]]:
    """Return the files of a pack by their folder in the storage and their name."""
    found = sorted(parts(file).items(), key=lambda part: part[1])
    numbers = [number for _, number in found]
    if not found or numbers != [(k + 1, len(found)) for k in range(len(found))]:
        names = ", ".join(path.name for path, _ in found) or "none"
        raise ConfigError(
            f"--unpack {file}: needs {file.name}.1ofN to {file.name}.NofN and no others, found "
            f"{names}; copy all parts of one pack into one folder"
        )
    folders: dict[str, dict[str, bytes]] = {}
    try:
        content = b"".join(path.read_bytes() for path, _ in found)
        with tarfile.open(fileobj=io.BytesIO(gzip.decompress(content))) as tar:
            for member in tar:
                folder, _, name = _checked(member).rpartition("/")
                folders.setdefault(folder, {})[name] = _content(tar, member)
        return {folder: _whole(folder, files) for folder, files in folders.items()}
    except (OSError, EOFError, zlib.error, tarfile.TarError, ValueError, CorruptError) as error:
        raise CorruptError(
            f"--unpack {file}: its parts are damaged or not made by --pack ({error}); "
            f"copy them again"
        ) from None


def _checked(member: tarfile.TarInfo) -> str:
    """Return the path of a member, which must not lead out of the storage."""
    if not MEMBER.fullmatch(member.name):
        raise ValueError(f"{member.name!r} has no place in a storage")
    if not member.isreg():
        raise ValueError(f"{member.name!r} is not a file")
    return member.name


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None  # of a plain file
    return file.read()


def _whole(folder: str, files: dict[str, bytes]) -> dict[str, bytes]:
    """Return files as they are to stay, once those that claim to be finished are known to be.

    Raises:
        CorruptError, ValueError, OSError: they are not.
    """
    if DONE not in files and MANIFEST not in files:
        return files
    with tempfile.TemporaryDirectory() as temporary:
        storage, target = Path(temporary), Path(temporary) / folder
        for name, content in files.items():
            write_atomic(target / name, content, durable=False)
        try:
            if ROUNDED in files and CURVES in files:
                _publish_rounded(storage, target)
                names = [*(name for name in files if name != MANIFEST), MANIFEST]
                files = {name: (target / name).read_bytes() for name in names}
            if MANIFEST in files:
                CurveStore(storage).manifest(target.name)
            else:
                _check_result(CellStore(storage).folder(target.name))
        except CorruptError as error:
            raise CorruptError(str(error).replace(f"{temporary}/", "")) from None
    return files


def _check_result(folder: Path) -> None:
    """Check that a cell's folder has a whole and unchanged result.

    Raises:
        CorruptError: it has not.
    """
    done = read_published(folder / DONE)
    check_owner(folder, done, "cell_id")
    check_files(folder, done)


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
    return True


def _progress(files: dict[str, bytes]) -> tuple[bool, int]:
    """Return whether a cell or a probe is done, and its epochs."""
    done = DONE in files or MANIFEST in files
    return done, len(files.get(HISTORY, b"").splitlines())


def _publish_rounded(storage: Path, folder: Path) -> None:
    """Turn curves of 16 bits into a stored probe that says so.

    Raises:
        CorruptError, ValueError, OSError: they are no curves, or their manifest is not ours.
    """
    curves = np.load(folder / CURVES, allow_pickle=False).astype(np.float32)
    path = folder / MARGINS
    margins = load_matrix(path, np.float16) if path.exists() else None
    manifest = read_published(folder / MANIFEST)
    check_owner(folder, manifest, "probe_id")
    info = {key: value for key, value in manifest.items() if key not in ("files", "shape")}
    store = CurveStore(storage)
    store.discard(folder.name)
    store.write(folder.name, curves, info, margins=margins)
