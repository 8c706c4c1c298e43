"""Jobs as people and programs read them."""

import time
from collections.abc import Sequence
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from curvetune.jobs.job import Job
from curvetune.system.units import duration

SCHEMA_VERSION = 1


def jobs_table(jobs: Sequence[Job]) -> Table:
    """Return a table with a row for each job, the last one first."""
    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, collapse_padding=True)
    for header in ("grid", "job", "state", "started", "time"):
        table.add_column(header, overflow="fold", justify="right" if header == "time" else "left")
    for job in reversed(jobs):
        began = "" if job.started_s is None else _clock(job.started_s)
        seconds = seconds_of(job)
        took = "" if seconds is None else duration(seconds)
        table.add_row(job.grid, job.job_id, state_words(job), began, took)
    return table


def jobs_json(jobs: Sequence[Job], address: str) -> dict[str, Any]:
    """Return what `status --address URL --json` prints."""
    return {
        "schema_version": SCHEMA_VERSION,
        "address": address,
        "jobs": [
            {
                "job_id": job.job_id,
                "grid": job.grid,
                "attempt": job.attempt,
                "state": job.state,
                "exit_code": job.exit_code,
                "started_s": job.started_s,
                "ended_s": job.ended_s,
                "storage": job.storage,
                "command": job.command,
            }
            for job in jobs
        ],
    }


def state_words(job: Job) -> str:
    """Return the state of a job, with its exit code where that tells more."""
    return f"{job.state} ({job.exit_code})" if job.exit_code else job.state


def seconds_of(job: Job) -> float | None:
    """Return how long a job took, or has run by now; None before it begins."""
    if job.started_s is None:
        return None
    return max(0.0, (job.ended_s or time.time()) - job.started_s)


def _clock(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))
