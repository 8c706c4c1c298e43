"""Checkpoints: a nest of dicts, lists, numbers and tensors in one safetensors file."""

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from curvetune.errors import CorruptError
from curvetune.store.arrays import load_arrays, save_arrays
from curvetune.store.files import remove

logger = logging.getLogger(__name__)

Arrays = dict[str, np.ndarray[Any, Any]]


LONGEST_S = 60.0  # between two checkpoints, where an epoch does not take longer


class Checkpoint:
    """The state of one run on disk, written every so many epochs, and every minute at least.

    Args:
        path: of the file.
        every: epochs between two writes, at least 1.
    """

    def __init__(self, path: Path, every: int) -> None:
        self._path = path
        self._every = every
        self._saved = time.monotonic()

    def due(self, finished: int) -> bool:
        """Say whether the state after `finished` epochs is to be written."""
        waited = time.monotonic() - self._saved
        return finished % self._every == 0 or waited >= LONGEST_S

    def save(self, state: dict[str, Any]) -> None:
        """Replace what was written before, without waiting for the disk.

        On a busy disk that takes a second. After a power cut a run goes on from an older state, or
        starts over where the file system lost both.
        """
        save_state(self._path, state, durable=False)
        self._saved = time.monotonic()

    def load(self) -> dict[str, Any] | None:
        """Return the last state, on the CPU; None if there is none or it is damaged (logged)."""
        if not self._path.exists():
            return None
        try:
            return load_state(self._path)
        except CorruptError as error:
            logger.warning("%s; the run starts over", error)
            return None

    def remove(self) -> None:
        """Delete the file of a run that is done."""
        remove(self._path)


def save_state(path: Path, state: dict[str, Any], *, durable: bool = True) -> None:
    """Write a nest of dicts, lists, tuples, plain values and tensors to `path`, atomically.

    Raises:
        TypeError: it holds something else.
        StorageError: it cannot be written.
    """
    arrays: Arrays = {}
    save_arrays(path, arrays, {"state": _encode(state, "", arrays)}, durable=durable)


def load_state(path: Path) -> dict[str, Any]:
    """Return what `save_state` wrote, its tensors on the CPU.

    Raises:
        CorruptError: the file is missing or damaged.
    """
    arrays, tree = load_arrays(path)
    try:
        state: dict[str, Any] = _decode(tree["state"], arrays)
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise CorruptError(f"{path}: not a state ({type(error).__name__}: {error})") from None
    return state


def _encode(value: Any, name: str, arrays: Arrays) -> Any:
    """Return `value` as JSON; tensors go to `arrays`, and dicts become lists of pairs.

    Pairs keep keys that are numbers, as in the state of an optimizer.
    """
    if isinstance(value, torch.Tensor):
        arrays[name] = value.detach().cpu().numpy()
        return {"tensor": name}
    if isinstance(value, dict):
        return {"dict": [[k, _encode(v, f"{name}/{k}", arrays)] for k, v in value.items()]}
    if isinstance(value, list | tuple):
        items = [_encode(v, f"{name}/{k}", arrays) for k, v in enumerate(value)]
        return {"tuple" if isinstance(value, tuple) else "list": items}
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"checkpoint{name}: cannot keep {value!r} ({type(value).__name__})")


def _decode(value: Any, arrays: Arrays) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return torch.from_numpy(arrays[content])
    if kind == "dict":
        return {key: _decode(item, arrays) for key, item in content}
    items = [_decode(item, arrays) for item in content]
    return tuple(items) if kind == "tuple" else items
