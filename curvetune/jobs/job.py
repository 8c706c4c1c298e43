"""A grid as a job of a cluster: what the cluster says of it."""

from collections.abc import Mapping
from dataclasses import dataclass

from curvetune.jobs.names import ATTEMPT, COMMAND, GRID, STORAGE

ENDED = ("SUCCEEDED", "FAILED", "STOPPED")


@dataclass(frozen=True)
class Job:
    """A grid as a job of a cluster.

    Args:
        job_id: Ray's "submission id".
        state: PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED.
        message: what Ray says of it.
        exit_code: of the grid, once it has ended by itself.
        started_s, ended_s: seconds since 1970.
        about: what was said of it when it was sent.
    """

    job_id: str
    state: str
    message: str
    exit_code: int | None
    started_s: float | None
    ended_s: float | None
    about: Mapping[str, str]

    @property
    def grid(self) -> str:
        """The name of its grid."""
        return self.about[GRID]

    @property
    def command(self) -> str:
        """The command that sent it."""
        return self.about.get(COMMAND, "")

    @property
    def storage(self) -> str:
        """Where its results are, as the cluster's nodes name it."""
        return self.about.get(STORAGE, "")

    @property
    def has_ended(self) -> bool:
        """Whether nothing more comes of it."""
        return self.state in ENDED

    @property
    def attempt(self) -> int:
        """How often the same grid was sent, with this time."""
        text = self.about.get(ATTEMPT, "")
        return int(text) if text.isdecimal() else 1
