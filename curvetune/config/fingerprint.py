"""The address of a result: a hash of what decides its numbers, and of nothing else."""

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

# What a grid can be called, since a file is named after it.
GRID_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,127}")


def canonical(identity: Any) -> str:
    """Return `identity` as canonical JSON: sorted keys, no spaces, exact floats.

    Raises:
        TypeError: a key is not a string or a value is not plain JSON, so its text could differ
            between processes.
        ValueError: a float is NaN or infinite.
    """
    _check(identity, "identity")
    return json.dumps(identity, sort_keys=True, separators=(",", ":"), allow_nan=False)


def together(parts: Mapping[str, str]) -> str:
    """Return canonical JSON of an object, whose values are canonical JSON already.

    Args:
        parts: by names of options, which JSON writes as they are.
    """
    return "{" + ",".join([f'"{key}":{parts[key]}' for key in sorted(parts)]) + "}"


def address(text: str) -> str:
    """Return 16 hex digits of the SHA-256 of canonical JSON."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def fingerprint(identity: Mapping[str, Any]) -> str:
    """Return 16 hex digits of the SHA-256 of `identity` as canonical JSON (see `canonical`)."""
    return address(canonical(identity))


def _check(value: Any, path: str) -> None:
    """Refuse what `json.dumps` would quietly convert: tuples, non-string keys, subclasses."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            if type(key) is not str:
                raise TypeError(f"{path}: the key {key!r} is not a string")
            _check(item, f"{path}.{key}")
    elif type(value) is list:
        for k, item in enumerate(value):
            _check(item, f"{path}[{k}]")
    elif value is not None and type(value) not in (str, int, float, bool):
        raise TypeError(f"{path}: {value!r} ({type(value).__name__}) has no exact JSON text")
