"""One conformance suite over the table of methods: the one that `curvetune check` runs."""

import pytest
from toy import CASES, Case, section

from curvetune.config import METHOD_SECTIONS
from curvetune.conformance.methods import CHECKS
from curvetune.methods import METHODS


def test_the_table_and_the_config_name_the_same_methods() -> None:
    assert list(METHODS) == list(METHOD_SECTIONS)


every_case = pytest.mark.parametrize("case", CASES, ids=[name for name, _ in CASES])


@pytest.mark.parametrize("check", CHECKS)
@every_case
def test_every_method_keeps_what_the_loop_relies_on(case: Case, check: str) -> None:
    CHECKS[check](section(case))


@every_case
def test_every_option_has_a_description_and_the_section_says_its_source(case: Case) -> None:
    config = section(case)
    assert config.source
    assert (type(config).__doc__ or "").strip()
    assert float(config.cost) > 0
