"""What MLflow takes, so that it is known before it is sent, and what stands in place of the rest.

MLflow cuts a text that is too long without a mark, keeps infinity as 1.8e308, and refuses a whole
request for one name that it does not take. The limits are those of its `utils/validation.py` (read
in 3.17); tests/tracking/test_limits.py holds them against the MLflow that is installed.
"""

import hashlib
import json
import math
import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from curvetune.tracking.base import Point

LONGEST_KEY = 250  # of a param, a tag or a metric; also of the name of a run
LONGEST = {"params": 6000, "tags": 8000}  # characters of a value
LONGEST_EXPERIMENT_TAG = 5000  # 20,000 in 3.17; a server may be older
LONGEST_DATA_NAME = 500
AT_ONCE = 100  # params, or tags, of a request
BYTES_AT_ONCE = 500_000  # of their JSON; MLflow takes a request of 1 MB
NO_CHARACTER = re.compile(r"[^/\w.\- :]")  # in a key
LONGEST_FILE_NAME = 200  # bytes; file systems take 255


@dataclass(frozen=True)
class Fitted:
    """Names and values that MLflow takes."""

    values: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)  # whole texts, by the key of the short


def fitted(values: Mapping[str, str], kind: str) -> Fitted:
    """Return `params` or `tags` as MLflow takes them; of a text that is too long, its beginning.

    The end of that beginning names the file that holds the whole text.
    """
    found = Fitted()
    for name, value in values.items():
        key = key_of(name)
        whole = value.encode("utf-8", "backslashreplace")  # of a file name that is no text
        value = whole.decode()
        if len(value) <= LONGEST[kind]:
            found.values[key] = value
            continue
        where = f"artifact {file_of(kind, key)}, {_digest(value)}"
        mark = f"… (all {len(value):,} characters: {where})"
        found.values[key] = value[: LONGEST[kind] - len(mark)] + mark
        found.files[key] = whole
    return found


def file_of(kind: str, key: str) -> str:
    """Return the name of the artifact that holds the whole text of a param or tag."""
    name = key if len(key.encode()) <= LONGEST_FILE_NAME else f"{key[:40]}-{_digest(key)}"
    return f"{kind}/{name}.txt"


def key_of(name: str) -> str:
    """Return `name` if MLflow takes it, else a name like it that no other one becomes."""
    key = NO_CHARACTER.sub("_", name)
    parts = [part if part.strip(".") else "_" for part in key.split("/")]
    if "/".join(parts) == name and len(name) <= LONGEST_KEY and posixpath.normpath(name) == name:
        return name
    digest = _digest(name)
    return f"{'/'.join(parts)[: LONGEST_KEY - len(digest) - 1]}-{digest}"


def cut(text: str, longest: int) -> str:
    """Return `text`, or as much of it as `longest` characters take, with a mark at the end."""
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def without_infinity(points: Sequence[Point]) -> tuple[list[Point], dict[str, str]]:
    """Return points with NaN for what is infinite, and in words which of them were, by key.

    MLflow keeps NaN as NaN. Left out, the last finite value would look like the latest one.
    """
    found, infinite = [], {}
    for point in points:
        if math.isinf(point.value):
            infinite[key_of(point.key)] = f"{point.value:g} at step {point.step}"
        value = math.nan if math.isinf(point.value) else point.value
        found.append(replace(point, key=key_of(point.key), value=value))
    return found, infinite


def batches(values: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Yield params or tags in as many parts as a request takes of them each."""
    part: dict[str, str] = {}
    size = 0
    for key, value in values.items():
        own = len(json.dumps([key, value]))
        if part and (len(part) == AT_ONCE or size + own > BYTES_AT_ONCE):
            yield part
            part, size = {}, 0
        part[key] = value
        size += own
    if part:
        yield part


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
