"""Which job a text means, and what a command that waited for it ends with."""

import pytest

from curvetune.errors import ConfigError
from curvetune.jobs.find import find
from curvetune.jobs.follow import ending, exit_code
from curvetune.jobs.job import Job
from curvetune.jobs.table import jobs_json, jobs_table


def job(
    job_id: str,
    state: str = "SUCCEEDED",
    code: int | None = None,
    grid: str = "digits",
    message: str = "",
) -> Job:
    about = {"curvetune_grid": grid, "curvetune_attempt": "2", "curvetune_command": "curvetune …"}
    return Job(job_id, state, message, code, 1e9, 1e9 + 90, about)


def test_a_job_is_found_by_its_id_or_by_its_grid() -> None:
    jobs = [job("a"), job("b", "RUNNING"), job("c"), job("d", grid="other")]
    assert find(jobs, "a").job_id == "a"
    assert find(jobs, "digits").job_id == "b"  # what runs
    assert find([jobs[0], jobs[2]], "digits").job_id == "c"  # else the last
    assert find(jobs, "other").job_id == "d"


def test_a_grid_of_which_several_jobs_run_is_asked_about() -> None:
    with pytest.raises(ConfigError, match="2 jobs of that grid run; give the id of one:\n  a\n  b"):
        find([job("a", "RUNNING"), job("b", "PENDING"), job("c")], "digits")


def test_a_text_that_is_no_job_is_told_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"did you mean 'digits'.*it has digits"):
        find([job("a")], "digit")
    with pytest.raises(ConfigError, match="it has none of curvetune's"):
        find([], "digits")


@pytest.mark.parametrize(
    ("state", "code", "expected", "words"),
    [
        ("SUCCEEDED", 0, 0, ""),
        ("SUCCEEDED", None, 0, ""),
        ("FAILED", 2, 2, ""),
        ("FAILED", 3, 3, ""),
        ("FAILED", 75, 75, ""),
        ("FAILED", -9, 137, ""),
        ("STOPPED", None, 4, "a was stopped; the same command goes on from there"),
        ("FAILED", None, 5, "a failed: no node"),
        ("FAILED", 127, 5, "a failed: the head has no `python`"),
    ],
)
def test_a_command_ends_as_the_grid_that_it_waited_for(
    state: str, code: int | None, expected: int, words: str
) -> None:
    ended = job("a", state, code, message="first line\n  no node\n")
    assert exit_code(ended) == expected
    assert ending(ended).startswith(words)
    assert bool(ending(ended)) == bool(words)


def test_jobs_are_shown_the_last_first_and_told_to_programs_in_order() -> None:
    jobs = [job("a"), job("b", "FAILED", 3)]
    told = jobs_json(jobs, "http://localhost:8265")
    assert [(one["job_id"], one["exit_code"]) for one in told["jobs"]] == [("a", None), ("b", 3)]
    assert told["jobs"][0]["ended_s"] - told["jobs"][0]["started_s"] == 90
    assert told["jobs"][0]["attempt"] == 2
    assert [row[2] for row in jobs_table(jobs).rows] == ["FAILED (3)", "SUCCEEDED"]
    assert [row[4] for row in jobs_table(jobs).rows] == ["90 s", "90 s"]
