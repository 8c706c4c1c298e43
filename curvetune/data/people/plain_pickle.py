"""Pickles of plain values and NumPy arrays, read without running anything of theirs.

A pickle names what is called when it is read, and may name any function. Here it can name only what
an array is made of, and gets stand-ins for it that keep what they are given.
"""

import io
import math
import pickle
import zipfile
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from curvetune.errors import DataError, printable

MAX_BYTES = 64 * 2**20  # of a pickle; CIFAR-10N's has 2.4 MB
INTEGERS = ("i1", "i2", "i4", "i8", "u1", "u2", "u4")

# What makes a file unreadable; MemoryError, since a few bytes can ask for much
DAMAGE = (
    *(pickle.UnpicklingError, zipfile.BadZipFile, AttributeError, EOFError, ImportError),
    *(IndexError, KeyError, MemoryError, RuntimeError, TypeError, ValueError),
)


def read_zip(path: Path) -> Any:
    """Return what `torch.save` wrote, if it holds no tensor.

    Raises:
        DataError: the file cannot be read, or wants to call what no array is made of.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            (entry,) = [one for one in archive.infolist() if one.filename.endswith("/data.pkl")]
            if entry.file_size > MAX_BYTES:
                raise DataError(f"{printable(path)}: holds {entry.file_size:,} bytes; no labels")
            return _Reader(io.BytesIO(archive.read(entry)), path).load()
    except (OSError, *DAMAGE) as error:
        raise _damaged(path, error) from None


def read_npy(path: Path) -> Any:
    """Return the one object that `numpy.save` wrote.

    Raises:
        DataError: the file cannot be read, or wants to call what no array is made of.
    """
    try:
        with path.open("rb") as file:
            major, _ = np.lib.format.read_magic(file)
            form = np.lib.format
            read = form.read_array_header_1_0 if major == 1 else form.read_array_header_2_0
            shape, _, dtype = read(file)
            if shape or not dtype.hasobject:
                raise ValueError(f"an array {shape} of {dtype}, where one object is needed")
            found = _Reader(io.BytesIO(file.read(MAX_BYTES)), path).load()
        (value,) = found.content
    except (OSError, *DAMAGE) as error:
        raise _damaged(path, error) from None
    return value


def integers(value: Any) -> NDArray[np.int64]:
    """Return an array of a pickle, or a list, as int64, (N,).

    Raises:
        ValueError: it is no row of whole numbers.
    """
    if isinstance(value, list) and all(type(one) is int for one in value):
        return np.array(value, np.int64)
    if not isinstance(value, Array) or value.dtype not in INTEGERS or len(value.shape) != 1:
        raise ValueError("no row of whole numbers")
    content = value.content
    kind = np.dtype(value.order + value.dtype)
    if not isinstance(content, bytes) or len(content) != math.prod(value.shape) * kind.itemsize:
        raise ValueError("its bytes do not fit its shape")
    return np.frombuffer(content, kind).astype(np.int64)


def _damaged(path: Path, error: Exception) -> DataError:
    reason = error.strerror if isinstance(error, OSError) else printable(error)
    return DataError(f"{printable(path)}: cannot be read ({reason}); put the published file there")


# ---------------------------------------------------------------- stand-ins


class Dtype:
    """Keeps what NumPy pickles of a dtype: ("i8", False, True), then its byte order."""

    def __init__(self, code: str, *_: bool) -> None:
        self.code, self.order = code, "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = state[1]


class Array:
    """Keeps what NumPy pickles of an array: its shape, its dtype and its bytes or objects."""

    shape: tuple[int, ...] = ()
    dtype, order = "", ""
    content: Any = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, self.shape, dtype, _, self.content = state
        self.dtype, self.order = dtype.code, dtype.order


def _reconstruct(*_: object) -> Array:
    return Array()


def _encode(text: str, encoding: str) -> bytes:
    """Return the bytes that old protocols pickle as text."""
    if encoding != "latin1":
        raise ValueError(f"bytes as {encoding!r}")
    return text.encode("latin1")


STAND_INS: dict[tuple[str, str], Any] = {
    ("numpy.core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy._core.multiarray", "_reconstruct"): _reconstruct,
    ("numpy", "ndarray"): Array,
    ("numpy", "dtype"): Dtype,
    ("_codecs", "encode"): _encode,
}


class _Reader(pickle.Unpickler):
    """Gives a pickle the stand-ins, and refuses all else."""

    def __init__(self, file: IO[bytes], path: Path) -> None:
        super().__init__(file)
        self._path = path

    def find_class(self, module_name: str, global_name: str, /) -> Any:
        """Return a stand-in."""
        if (module_name, global_name) in STAND_INS:
            return STAND_INS[module_name, global_name]
        wanted = printable(f"{module_name}.{global_name}")
        raise DataError(
            f"{printable(self._path)}: wants to call {wanted}, which no labels need, so the file "
            f"is refused and nothing of it was run; put the published file there"
        )

    def persistent_load(self, pid: Any, /) -> Any:
        """Refuse a tensor, whose values are elsewhere in the file."""
        raise ValueError("it holds tensors, where the published file has NumPy arrays")
