"""The ranges that methods declare for `tune`: points of them, and what is refused."""

from typing import Any, ClassVar, Literal

import pytest

from curvetune.config import METHOD_SECTIONS, CellConfig
from curvetune.config.method import MethodConfig
from curvetune.config.tunable import Choice, LogUniform, Ranges, Uniform, check_ranges, halved
from curvetune.errors import ConfigError
from curvetune.tuning.trials import random_trial

TUNABLE = [name for name, section in METHOD_SECTIONS.items() if section.tunable]


@pytest.mark.parametrize("name", METHOD_SECTIONS)
def test_every_range_is_of_an_option_has_its_default_and_a_source(name: str) -> None:
    section = METHOD_SECTIONS[name]
    check_ranges(name, section.tunable, section.model_fields)
    assert all(found.source for found in section.tunable.values())


@pytest.mark.parametrize("name", TUNABLE)
def test_the_method_takes_every_corner_of_its_ranges(name: str) -> None:
    ranges = METHOD_SECTIONS[name].tunable
    corners = [{option: found.at(u) for option, found in ranges.items()} for u in (0.0, 0.5, 1.0)]
    for corner in [*corners, random_trial(ranges, 0, name, 1)]:
        cell = CellConfig.model_validate({"method": {"name": name, **corner}})
        assert {option: getattr(cell.method, option) for option in ranges} == corner


def test_points_of_a_range_are_where_they_should_be() -> None:
    assert [Uniform(2, 4, "").at(u) for u in (0, 0.5, 1)] == [2, 3, 4]
    assert [LogUniform(1e-4, 1e-2, "").at(u) for u in (0, 0.5, 1)] == [1e-4, 1e-3, 1e-2]
    assert [Choice(("a", "b"), "").at(u) for u in (0, 0.49, 0.5, 1)] == ["a", "a", "b", "b"]
    assert Uniform(0.1, 1, "").at(0.123456) == 0.2111


def test_a_grid_of_numbers_halves_what_is_between_those_before() -> None:
    points = [halved(k) for k in range(9)]
    assert points == [0, 1, 0.5, 0.25, 0.75, 0.125, 0.375, 0.625, 0.875]
    assert [Choice((1, 2), "").level(k) for k in range(3)] == [1, 2, None]


def section_with(ranges: Ranges) -> type[MethodConfig]:
    class OwnConfig(MethodConfig):
        source = "a test"
        tunable: ClassVar[Ranges] = ranges
        name: Literal["own"] = "own"
        power: float = 0.7

    return OwnConfig


@pytest.mark.parametrize(
    ("ranges", "said"),
    [
        ({"power": Uniform(0.8, 1, "")}, "0.8 to 1, which excludes the default 0.7"),
        ({"power": Choice((0.1, 0.2), "")}, "0.1, 0.2, which excludes the default 0.7"),
        ({"powr": Uniform(0, 1, "")}, "there is no such option; allowed are recipe"),
        ({"power": (0, 1)}, "allowed are Uniform, LogUniform and Choice"),
        ({"power": Uniform(1, 0.5, "")}, "the low end is below the high one"),
        ({"power": LogUniform(0, 1, "")}, "above 0 where logarithms are drawn"),
        ({"power": Choice((0.7,), "")}, "has 1 values; a choice needs at least 2"),
    ],
)
def test_a_range_that_is_not_right_is_refused(ranges: Any, said: str) -> None:
    section = section_with(ranges)
    with pytest.raises(ConfigError, match=r"OwnConfig\.tunable") as error:
        check_ranges(section.__name__, section.tunable, section.model_fields)
    assert said in str(error.value)


def test_a_trial_is_a_function_of_seed_method_and_number() -> None:
    ranges = METHOD_SECTIONS["sce"].tunable
    one = random_trial(ranges, 0, "sce", 1)
    assert one == random_trial(ranges, 0, "sce", 1)
    others = [random_trial(ranges, 1, "sce", 1), random_trial(ranges, 0, "sce", 2)]
    assert all(one != other for other in [*others, random_trial(ranges, 0, "gce", 1)])
    part = {"forward_share": ranges["forward_share"]}
    assert random_trial(part, 0, "sce", 1)["forward_share"] == one["forward_share"]
