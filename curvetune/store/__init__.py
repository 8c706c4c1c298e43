"""The storage is the truth: atomic, checked files under one root (docs/architecture.md)."""

from curvetune.store.cells import CellStore
from curvetune.store.curves import CurveStore
from curvetune.store.files import open_storage

__all__ = ["CellStore", "CurveStore", "open_storage"]
