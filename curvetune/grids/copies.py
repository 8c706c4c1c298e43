"""What a grid's data has more than once, as the storage remembers it."""

from pathlib import Path

from curvetune.data.duplicates import Copies
from curvetune.store.facts import read_facts


def copies_in(storage: Path | str, digest: str) -> Copies | None:
    """Return what the data with this content digest has more than once; None if nobody looked."""
    found = read_facts(Path(storage), digest)
    try:
        return None if found is None else Copies.from_json(found)
    except ValueError:  # damaged, or of another version: it is only told, never used
        return None
