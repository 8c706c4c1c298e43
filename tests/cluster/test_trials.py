"""Every trial of the table has a test."""

import re
from pathlib import Path

import pytest
from trials import TRIALS

NAME = re.compile(r'(?:^def test_|")trial_(\d+)_', re.MULTILINE)  # of a test, or of its cases


@pytest.fixture(scope="module")
def tested() -> set[int]:
    """The numbers of trials that have a test."""
    files = Path(__file__).parents[1].rglob("test_*.py")
    return {int(number) for file in files for number in NAME.findall(file.read_text())}


@pytest.mark.parametrize("number", TRIALS)
def test_each_trial_has_a_test(number: int, tested: set[int]) -> None:
    assert tested <= TRIALS.keys()
    if number not in tested:
        pytest.skip(f"trial {number} has none yet: {TRIALS[number].did}: {TRIALS[number].right}")
