"""Named arrays and a tree of plain values in one safetensors file, with a checksum over both.

Matrices alone are .npy files, whose checksum is with whoever publishes them.
"""

import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from curvetune.errors import CorruptError
from curvetune.store.files import write_atomic
from curvetune.store.plain import open_plain, read_plain

LENGTH_BYTES, ALIGNED = 8, 8  # of a safetensors file: the length of its header, and its multiple
# What a file that is no safetensors file of ours can raise.
UNREADABLE = (OSError, SafetensorError, ValueError, LookupError, TypeError, AttributeError)

BYTES_AT_ONCE = 4_000_000  # of a matrix that is written
Float = TypeVar("Float", np.float32, np.float16)


def save_arrays(
    path: Path,
    arrays: Mapping[str, np.ndarray[Any, Any]],
    tree: Mapping[str, Any] | None = None,
    *,
    durable: bool = True,
) -> None:
    """Write named arrays and a JSON `tree` to one safetensors file, atomically, with a checksum."""
    content = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    write_atomic(path, _packed(content, json.dumps(tree or {})), durable=durable)


def load_arrays(path: Path) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any]]:
    """Return the arrays and the JSON tree that `save_arrays` wrote to `path`.

    Raises:
        CorruptError: the file is missing, short or not what its checksum says.
    """
    try:
        content = read_plain(path)
        end = LENGTH_BYTES + int.from_bytes(content[:LENGTH_BYTES], "little")
        header = json.loads(json.loads(content[LENGTH_BYTES:end])["__metadata__"]["curvetune"])
        # Of bytes, `load` gives them in another order each time.
        arrays, text = dict(sorted(load(content).items())), header["tree"]
        is_whole = _is_packed(content, arrays, text)  # the checksum is in there, as all else is
    except (*UNREADABLE, RecursionError) as error:
        raise CorruptError(f"{path}: cannot be read ({error})") from None
    if not is_whole:
        raise CorruptError(f"{path}: its content is not what its checksum says")
    tree: dict[str, Any] = json.loads(text)
    return arrays, tree


def _packed(arrays: Mapping[str, np.ndarray[Any, Any]], text: str) -> Iterator[bytes]:
    """Yield the parts of a safetensors file, without a copy; the same for the same content.

    They are those of `safetensors.numpy.save`, which holds all of it twice. It is asked for the
    order alone.
    """
    # One entry: safetensors writes several in random order, and equal states are to be equal files.
    metadata = {"curvetune": json.dumps({"tree": text, "sha256": _checksum(arrays, text)})}
    empty: bytes = save({name: np.empty(0, one.dtype) for name, one in arrays.items()}, metadata)
    header: dict[str, Any] = json.loads(empty[LENGTH_BYTES:])
    names = [name for name in header if name != "__metadata__"]
    end = 0
    for name in names:
        start, end = end, end + arrays[name].nbytes
        header[name] |= {"shape": arrays[name].shape, "data_offsets": [start, end]}
    packed = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    packed += b" " * (-len(packed) % ALIGNED)
    yield len(packed).to_bytes(LENGTH_BYTES, "little") + packed
    yield from (bytes_of(arrays[name]) for name in names)


def bytes_of(array: np.ndarray[Any, Any]) -> bytes:
    """Return the bytes of an array in C order, which are not copied."""
    return cast(bytes, array.reshape(-1).view(np.uint8).data)


def _is_packed(content: bytes, arrays: Mapping[str, np.ndarray[Any, Any]], text: str) -> bool:
    """Say whether a file has exactly this content."""
    whole, at = memoryview(content), 0
    for part in _packed(arrays, text):
        if whole[at : at + len(part)] != part:
            return False
        at += len(part)
    return at == len(whole)


def _checksum(arrays: Mapping[str, np.ndarray[Any, Any]], text: str) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(arrays):
        array = arrays[name]
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(bytes_of(array))
    return digest.hexdigest()


def load_matrix(path: Path, dtype: type[Float]) -> NDArray[Float]:
    """Return a matrix of `dtype` from a .npy file: read-only, mapped from the disk.

    Raises:
        CorruptError: it is missing or something else, such as pickled objects.
    """
    try:
        os.close(open_plain(path))
        matrix = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise CorruptError(f"{path}: cannot be read ({error})") from None
    if not isinstance(matrix, np.ndarray) or matrix.dtype != dtype or matrix.ndim != 2:
        raise CorruptError(f"{path}: not a matrix of {dtype.__name__}")
    return matrix


def npy_parts(matrix: NDArray[Any], dtype: type[np.floating[Any]]) -> Iterator[bytes]:
    """Yield a matrix, which need not be in memory, as the parts of a .npy file."""
    header = io.BytesIO()
    described = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": matrix.shape}
    np.lib.format.write_array_header_1_0(header, described)
    yield header.getvalue()
    rows = max(1, BYTES_AT_ONCE // (matrix.shape[1] * np.dtype(dtype).itemsize))
    for start in range(0, len(matrix), rows):
        yield bytes_of(np.ascontiguousarray(matrix[start : start + rows], dtype=dtype))
