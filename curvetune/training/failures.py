"""What kind of failure ended a cell: FAILED.json names it, so that a kind can be treated alike."""

from collections.abc import Iterator

import torch

from curvetune.errors import (
    DataError,
    DivergedError,
    FailureKind,
    HangError,
    StorageError,
    StorageFullError,
)
from curvetune.training.import_errors import IMPORT, is_import_error

OOM: FailureKind = "oom"
LOST: FailureKind = "lost"
HANG: FailureKind = "hang"
FULL: FailureKind = "disk-full"
KIND_OF: dict[type[BaseException], FailureKind] = {
    DivergedError: "diverged",
    DataError: "bad-data",
    HangError: HANG,
    StorageFullError: FULL,
    StorageError: "storage",
    OSError: "storage",
    torch.AcceleratorError: LOST,
}
# What the CUDA runtime and cuBLAS or cuDNN say where they, not PyTorch, found no memory.
OOM_TEXTS = ("out of memory", "_STATUS_ALLOC_FAILED")


def failure_kind(error: BaseException) -> FailureKind:
    """Return what kind of failure an error is."""
    if is_out_of_memory(error):
        return OOM
    if is_import_error(error):
        return IMPORT
    return next((kind for cls, kind in KIND_OF.items() if isinstance(error, cls)), "other")


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether a GPU's memory did not suffice, be it for what `error` came of.

    When memory runs out while a CUDA graph is captured, the end of the capture raises anew.
    """
    return any(
        isinstance(cause, torch.OutOfMemoryError)
        or (isinstance(cause, RuntimeError) and any(text in str(cause) for text in OOM_TEXTS))
        for cause in _chain(error)
    )


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, what it came of, and so on."""
    next_: BaseException | None = error
    while next_ is not None:
        yield next_
        next_ = next_.__cause__ or next_.__context__
