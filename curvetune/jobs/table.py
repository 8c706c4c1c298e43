"""Jobs as people and programs read them."""

import time
from collections.abc import Sequence
from typing import Any

from curvetune.jobs.job import Job
from curvetune.system.tables import Column, Table
from curvetune.system.units import duration

SCHEMA_VERSION = 1


def jobs_table(jobs: Sequence[Job]) -> Table:
    """Return a table with a row for each job, the last one first."""
    columns = [
        Column("grid", is_key=True, is_left=True),
        Column("job", is_key=True, is_left=True),
        Column("state", is_left=True),
        Column("started", is_left=True),
        Column("time"),
    ]
    rows = []
    for job in reversed(jobs):
        began = "" if job.started_s is None else _clock(job.started_s)
        seconds = seconds_of(job)
        took = "" if seconds is None else duration(seconds)
        rows.append((job.grid, job.job_id, state_words(job), began, took))
    return Table(columns, rows)


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
