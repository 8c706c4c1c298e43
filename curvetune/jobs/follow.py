"""Follows a job: what it prints, and how it ends."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import aiohttp

from curvetune.errors import INTERRUPTED, BackendError, printable
from curvetune.jobs.job import Job
from curvetune.system.redact import redact

if TYPE_CHECKING:
    from curvetune.jobs.client import Jobs

LOOK_S = 10.0  # between two looks at a job that prints nothing
START_S = 0.5  # between two looks at one that has not begun
AGAIN_S = 2.0  # before a lost connection is made anew
LOST_S = 60.0  # without an answer, before it is given up
NO_PYTHON = 127  # what a shell exits with where there is no such program
Show = Callable[[str], object]


def follow(jobs: "Jobs", job_id: str, show: Show, tell: Show) -> Job:
    """Show all that a job prints until its end, and return it as it ended.

    Args:
        show: gets the text, as it comes.
        tell: hears what it waits for.

    Raises:
        BackendError: the cluster did not answer for a minute; the job may go on.
    """
    return asyncio.run(_Following(jobs, job_id, show, tell).run())


def wait_for_end(jobs: "Jobs", job_id: str, wait_s: float) -> Job:
    """Return a job that was asked to stop, once it has ended.

    Raises:
        BackendError: it has not within `wait_s` and a moment, or the cluster does not answer.
    """
    deadline = time.monotonic() + wait_s + LOST_S
    while not (job := jobs.get(job_id)).has_ended:
        if time.monotonic() > deadline:
            raise BackendError(f"{job_id} still runs {wait_s + LOST_S:g} s after it was to stop")
        time.sleep(START_S)
    return job


def exit_code(job: Job) -> int:
    """Return what a command ends with that waited for a job: as on a laptop."""
    if job.state == "STOPPED":
        return INTERRUPTED
    code = job.exit_code
    if job.state == "SUCCEEDED":
        return 0
    if code is None or code == NO_PYTHON:
        return BackendError.exit_code
    return code if code > 0 else 128 - code  # a signal, as a shell tells it


def ending(job: Job) -> str:
    """Return how a job ended, in words; nothing where the grid itself has said it."""
    if job.state == "STOPPED":
        return f"{job.job_id} was stopped; the same command goes on from there"
    if job.state == "FAILED" and job.exit_code is None:
        return f"{job.job_id} failed: {_reason(job)}"
    if job.state == "FAILED" and job.exit_code == NO_PYTHON:
        return (
            f"{job.job_id} failed: the head has no `python` on the PATH of its Ray; start Ray "
            f"there with its environment's bin first: PATH=ENV/bin:$PATH ray start --head"
        )
    return ""


def _reason(job: Job) -> str:
    lines = [line.strip() for line in job.message.splitlines() if line.strip()]
    return redact(printable(lines[-1], 500)) if lines else "Ray does not say why"


@dataclass
class _Following:
    jobs: "Jobs"
    job_id: str
    show: Show
    tell: Show
    shown: int = 0  # characters
    answered: float = 0.0  # when the cluster last did

    async def run(self) -> Job:
        self.answered = time.monotonic()
        await self._begun()
        while True:
            try:
                await self._tail()
            except (aiohttp.ClientError, OSError, RuntimeError) as error:
                self._lost(error)
            job = await self._look()
            if job is not None and job.has_ended:
                await self._rest()
                return job
            await asyncio.sleep(AGAIN_S)

    async def _begun(self) -> None:
        """Wait until the job runs, and say what it waits for if that takes longer."""
        said = False
        begin = time.monotonic()
        while True:
            job = await self._look()
            if job is not None and job.state != "PENDING":
                return
            if job is not None and not said and time.monotonic() > begin + LOOK_S:
                said = True
                self.tell(f"it has not begun: {_reason(job)}")
            await asyncio.sleep(START_S)

    async def _tail(self) -> None:
        """Show what the job prints until the connection ends."""
        before = self.shown
        async with contextlib.aclosing(self.jobs.tail(self.job_id)) as lines:
            pending = asyncio.ensure_future(_next(lines))
            try:
                while True:
                    await asyncio.wait({pending}, timeout=LOOK_S)
                    if not pending.done():
                        job = await self._look()
                        if job is not None and job.has_ended:
                            return
                        continue
                    if (text := pending.result()) is None:
                        return
                    self.answered = time.monotonic()
                    new = text[before:] if before else text
                    before -= len(text) - len(new)
                    self._print(new)
                    pending = asyncio.ensure_future(_next(lines))
            finally:
                pending.cancel()
                with contextlib.suppress(BaseException):
                    await pending

    async def _look(self) -> Job | None:
        """Return the job; None if the cluster does not answer now."""
        try:
            job = await asyncio.to_thread(self.jobs.get, self.job_id)
        except BackendError as error:
            self._lost(error)
            return None
        self.answered = time.monotonic()
        return job

    async def _rest(self) -> None:
        """Show the end of the log where the connection ended before."""
        with contextlib.suppress(BackendError):
            whole = await asyncio.to_thread(self.jobs.logs, self.job_id)
            self._print(whole[self.shown :])

    def _print(self, text: str) -> None:
        if text:
            self.shown += len(text)
            self.show(redact(text))

    def _lost(self, error: Exception) -> None:
        if time.monotonic() < self.answered + LOST_S:
            return
        if isinstance(error, BackendError):
            raise error
        raise BackendError(
            f"--address {self.jobs.head.address}: the cluster does not answer any more "
            f"({type(error).__name__}); {self.job_id} goes on if its head lives"
        ) from error


async def _next(lines: AsyncIterator[str]) -> str | None:
    return await anext(lines, None)
