"""What takes long says so, on stderr alone; what does not says nothing."""

import io
import time

import pytest
from rich.console import Console

from curvetune.system.progress import FIRST_S, MOST_S, until_next, working


def shown(seconds: float, *, terminal: bool = False, far: str = "") -> str:
    out = io.StringIO()
    with working("reading images", Console(file=out, width=60, force_terminal=terminal)) as at:
        at(far)
        time.sleep(seconds)
    return out.getvalue()


def test_what_is_done_within_a_second_shows_nothing() -> None:
    assert shown(0.2) == ""


def test_what_takes_longer_says_what_it_is_and_then_how_far_and_for_how_long() -> None:
    lines = shown(FIRST_S + 3, far="7 of 24").splitlines()
    assert lines == ["reading images: 7 of 24 …", "reading images: 7 of 24 (4 s)"]


def test_a_terminal_has_one_line_which_goes_at_the_end() -> None:
    text = shown(FIRST_S + 2.5, terminal=True, far="[red]7")
    assert "reading images: [red]7 (2 s)" in text
    assert "(3 s)" in text
    assert text.endswith("\x1b[1A\x1b[2K")  # up one line, and clear it


def test_without_a_console_nothing_is_shown_and_the_block_runs(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with working("reading images", None) as at:
        at("7 of 24")
        time.sleep(FIRST_S + 0.2)
    assert capsys.readouterr() == ("", "")


def test_an_error_in_the_block_goes_through_and_ends_the_signs() -> None:
    out = io.StringIO()
    with pytest.raises(RuntimeError, match="boom"), working("reading", Console(file=out)):
        raise RuntimeError("boom")
    time.sleep(FIRST_S + 0.3)
    assert out.getvalue() == ""


def test_signs_come_within_three_seconds_at_first_and_a_log_of_a_day_stays_short() -> None:
    assert max(until_next(second) for second in range(60)) < 3
    seconds = count = 0.0
    while seconds < 86400:
        seconds, count = seconds + until_next(seconds), count + 1
    assert count < 86400 / MOST_S + 100
