"""What data that is biased as it is has of its own: how unequal its classes are."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from curvetune.store.facts import read_facts

Sizes: TypeAlias = Sequence[int]  # images of each class, (K,)
KEY = "class_sizes"  # in data/<digest>.json
DECIMALS_BELOW = 10  # a ratio above it is told in whole numbers


def own_imbalance(sizes: Sizes | None, limit: int | None = None) -> float | None:
    """Return the largest class over the smallest that has an image; None if nobody counted.

    Args:
        limit: data.per_class_limit, which cuts the large ones.
    """
    found = [size if limit is None else min(size, limit) for size in sizes or () if size > 0]
    return max(found) / min(found) if found else None


def ratio(value: float) -> str:
    """Return a ratio as people say it: "12", "1.5"."""
    return f"{value:.0f}" if value >= DECIMALS_BELOW else f"{round(value, 1):g}"


def class_sizes(storage: Path | str, digest: str, part: str = "train") -> Sizes | None:
    """Return how many images of each class the data with this content digest has, (K,).

    None where nobody counted, or what is remembered is damaged: it is only told, never used.

    Args:
        part: train or test.
    """
    facts = read_facts(Path(storage), digest)
    return _counts((facts or {}).get(KEY), part)


def _counts(stored: Any, part: str) -> Sizes | None:
    found = stored.get(part) if isinstance(stored, dict) else None
    if not isinstance(found, list) or not all(type(n) is int and n >= 0 for n in found):
        return None
    return found
