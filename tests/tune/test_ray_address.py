"""Which cluster a grid runs on, from the option and the environment."""

import re

import pytest

from curvetune.errors import ConfigError
from curvetune.tune.address import chosen_address


@pytest.mark.parametrize(
    ("given", "named", "chosen"),
    [
        (None, None, (None, "")),
        (None, "", (None, "")),
        (None, "local", (None, "")),
        (None, "head:6379", ("head:6379", "RAY_ADDRESS=head:6379")),
        ("other:6379", "head:6379", ("other:6379", "--address other:6379")),
        ("auto", "head:6379", ("auto", "--address auto")),
        ("local", "head:6379", (None, "")),
        ("local", None, (None, "")),
    ],
)
def test_the_option_wins_over_the_environment_and_local_is_this_machine(
    given: str | None, named: str | None, chosen: tuple[str | None, str]
) -> None:
    environment = {} if named is None else {"RAY_ADDRESS": named}
    assert chosen_address(given, environment) == chosen


@pytest.mark.parametrize("named", ["http://head:8265", "ray://head:10001"])
def test_an_address_of_the_environment_for_another_client_is_refused(named: str) -> None:
    with pytest.raises(ConfigError, match=f"RAY_ADDRESS={re.escape(named)} is .*local"):
        chosen_address(None, {"RAY_ADDRESS": named})
    assert chosen_address("local", {"RAY_ADDRESS": named}) == (None, "")
