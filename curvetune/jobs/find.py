"""Which job a text means, and whether a grid has one already."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from curvetune.errors import BackendError, ConfigError, nearest, printable
from curvetune.jobs.job import Job
from curvetune.jobs.names import ATTEMPT, DIGEST, GRID
from curvetune.jobs.submission import Order, attempt_id

if TYPE_CHECKING:
    from curvetune.jobs.client import Jobs

TRIES = 5  # to find or start a job, while others do the same


def find(jobs: Sequence[Job], text: str) -> Job:
    """Return the job with that id, or the one of that grid: what runs, else the last.

    Raises:
        ConfigError: there is none, or several of that grid run.
    """
    by_id = {job.job_id: job for job in jobs}
    if text in by_id:
        return by_id[text]
    of_grid = [job for job in jobs if job.grid == text]
    if not of_grid:
        names = sorted({job.grid for job in jobs})
        known = f"; it has {', '.join(names[:20])}" if names else "; it has none of curvetune's"
        raise ConfigError(
            f"{printable(text)!r}: the cluster has no job of that id or grid"
            f"{nearest(text, names)}{known}"
        )
    running = [job for job in of_grid if not job.has_ended]
    if len(running) > 1:
        ids = "\n".join(f"  {job.job_id}" for job in running)
        raise ConfigError(
            f"{text}: {len(running)} jobs of that grid run; give the id of one:\n{ids}"
        )
    return running[0] if running else of_grid[-1]


def attach_or_send(jobs: "Jobs", order: Order) -> tuple[Job, bool]:
    """Return the job of a grid that has not ended, else a new one; and whether it is new.

    Raises:
        BackendError: the cluster does not answer, or takes no job.
    """
    tried = 0
    for _ in range(TRIES):
        before = [job for job in jobs.all() if _is_of(job, order)]
        for job in before:
            if not job.has_ended:
                return job, False
        # also above what was refused: another is faster, or its id was used by a deleted job
        attempt = tried = max([tried, *(job.attempt for job in before)]) + 1
        job_id = attempt_id(order.first, attempt)
        about = {**order.about, ATTEMPT: str(attempt)}
        if jobs.send(job_id, order.entrypoint, order.environment, about):
            return jobs.get(job_id), True
    raise BackendError(
        f"{order.first}: others start and end this grid all the time; `curvetune status --address "
        f"{jobs.head.address}` shows them"
    )


def _is_of(job: Job, order: Order) -> bool:
    return all(job.about.get(key) == order.about[key] for key in (GRID, DIGEST))
