"""JSON text is that of the standard library, to the last byte."""

import enum
import json
import random
from typing import Any

import pytest

from curvetune.system.json_text import json_text


class Level(enum.IntEnum):
    LOW = 1


class Text(str):
    pass


PLAIN = (
    *(None, True, False, 0, -1, 10**30, 0.1, 1e-07, 1e300, -0.0, 1.0, 5e-324),
    *("", 'é\u2028\n\t"\\/', "\ud800", "\U0001f600", "a" * 100),
)


def drawn(random_: random.Random, depth: int) -> Any:
    """Return a value that JSON can hold."""
    kind = random_.choice(("plain", "list", "tuple", "dict")) if depth else "plain"
    if kind == "plain":
        return random_.choice(PLAIN)
    parts = [drawn(random_, depth - 1) for _ in range(random_.randrange(4))]
    if kind == "dict":
        return {str(random_.choice(PLAIN)) + str(k): part for k, part in enumerate(parts)}
    return tuple(parts) if kind == "tuple" else parts


def test_it_is_what_json_dumps_writes() -> None:
    random_ = random.Random(0)
    for _ in range(300):
        value = drawn(random_, 5)
        assert json_text(value) == json.dumps(value, indent=1)


@pytest.mark.parametrize(
    "value",
    [
        float("nan"),
        float("inf"),
        float("-inf"),
        {2: 2, None: 3, True: 4, 1.5: 5},
        {"a": {Text("b"): Text("c")}},
        [Level.LOW, {"level": Level.LOW}],
        {"a": [float("nan"), {}]},
    ],
)
def test_what_is_rare_is_written_as_json_dumps_does(value: Any) -> None:
    assert json_text(value) == json.dumps(value, indent=1)


@pytest.mark.parametrize("value", [{"a": {1, 2}}, {(1, 2): 3}, object(), b"x"])
def test_what_json_cannot_hold_is_refused_as_json_dumps_does(value: Any) -> None:
    with pytest.raises(TypeError) as expected:
        json.dumps(value, indent=1)
    with pytest.raises(TypeError) as found:
        json_text(value)
    assert str(found.value) == str(expected.value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [{"a": float("-inf")}]])
def test_numbers_that_are_none_can_be_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        json_text(value, allow_nan=False)


def test_what_holds_itself_is_refused() -> None:
    ring: list[Any] = []
    ring.append(ring)
    with pytest.raises(ValueError, match="Circular"):
        json_text(ring)
