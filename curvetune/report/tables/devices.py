"""On which kinds of device the results of a grid were made."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from curvetune.errors import printable


def device_notes(results: Iterable[Mapping[str, Any]]) -> list[str]:
    """Say which device made which results, if there were several, and which results moved."""
    results = list(results)
    made = Counter(printable(result["device"]) for result in results if "device" in result)
    notes = []
    if len(made) > 1:
        counted = ", ".join(f"{name}: {n}" for name, n in made.most_common())
        notes.append(f"the results were made on different kinds of device: {counted}")
    ways = [way for result in results for way in _ways(result)]
    if ways:
        counted = ", ".join(f"{way}: {n}" for way, n in Counter(ways).most_common())
        notes.append(
            f"{sum(any(_ways(result)) for result in results)} of {len(results)} results went on "
            f"on another kind of device ({counted}), so they are not bit for bit what one device "
            f"makes"
        )
    return notes


def _ways(result: Mapping[str, Any]) -> list[str]:
    """Return over which devices a result, or its probe, went."""
    found = []
    for key, what in (("devices", ""), ("probe_devices", "probe ")):
        if isinstance(names := result.get(key), list) and len(names) > 1:
            found.append(what + " → ".join(printable(name) for name in names))
    return found
