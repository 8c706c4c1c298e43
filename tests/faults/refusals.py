"""What `curvetune grid` does before anything starts, and what it says where it refuses."""

import os
from collections.abc import Callable

import pytest

from curvetune.errors import ConfigError
from curvetune.places import parse_on_bad
from curvetune.planning.options import parse_launch
from curvetune.planning.selection import parse_selection, selected_space
from curvetune.planning.space import Space

GOOD = "base: {data: {name: digits}, model: {name: resnet8}}\ngrid: {seed: [0], imbalance: [1, 10]}"


def plan(
    space: str,
    *,
    methods: str = "",
    seeds: str = "",
    profile: str = "release",
    fixed: tuple[str, ...] = (),
    on_bad: str = "fail",
    address: str | None = None,
    gpus: str | None = None,
) -> Space:
    """Do what `curvetune grid` does with its options before it looks at data and storage."""
    selection = parse_selection(space, methods, seeds, profile, fixed)
    parse_launch(address, gpus, None, None, 5, 60.0)
    parse_on_bad(on_bad)
    return selected_space(selection)


def seconds(do: Callable[[], object]) -> float:
    """Return the processor time of `do`: a busy machine does not count."""
    before = os.times()
    do()
    after = os.times()
    return after.user + after.system - before.user - before.system


def refusal(space: str, **options: object) -> str:
    """Return what is said of a bad config, having checked that it took no time."""
    messages = []

    def refuse() -> None:
        with pytest.raises(ConfigError) as refused:
            plan(space, **options)  # type: ignore[arg-type]
        messages.append(str(refused.value))
        assert refused.value.exit_code == 2

    assert seconds(refuse) < 4  # processor time: a busy machine may take twice of the 2 seconds
    return messages[0]
