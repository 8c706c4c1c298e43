"""Ray's own client of the jobs of a cluster, with time limits, and with our errors."""

import contextlib
import logging
import os
import time
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import requests
from ray.exceptions import AuthenticationError
from ray.job_submission import JobSubmissionClient

from curvetune.errors import BackendError, printable
from curvetune.jobs.head import ANSWER_S, CONNECT_S, Head
from curvetune.jobs.job import Job
from curvetune.jobs.names import GRID
from curvetune.system.redact import redact

UPLOAD_S = 120.0  # for two megabytes
ORDER_S = 60.0  # to start or stop a job: the head asks its own agent first, for 10 s and more
# What a head says that answers already, but has no agent yet which could start a job.
NOT_YET = ("No available agent", "head node agent", "Head node id has", "ClientConnectorError")
# With these set, Ray's client would go elsewhere than it is told.
ELSEWHERE = ("RAY_API_SERVER_ADDRESS", "RAY_ADDRESS")
# What each upload and each end of a log is told by.
CHATTY = ("ray.dashboard.modules", "ray._private.runtime_env.packaging")
CA_BUNDLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


class Jobs:
    """The grids that are jobs of one cluster."""

    def __init__(self, head: Head) -> None:
        """Connect.

        Raises:
            BackendError: the cluster does not answer.
        """
        self.head = head
        for name in list(logging.root.manager.loggerDict):
            if name.startswith(CHATTY):
                logging.getLogger(name).setLevel(logging.WARNING)
        with _errors(head), _without(ELSEWHERE):
            self._client = _Client(head)

    def all(self) -> list[Job]:
        """Return those that curvetune has sent, the oldest first.

        Raises:
            BackendError: the cluster does not answer.
        """
        with _errors(self.head):
            found = [_job(details) for details in self._client.list_jobs()]
        ours = [job for job in found if job is not None]
        return sorted(ours, key=lambda job: (job.started_s or 0.0, job.job_id))

    def get(self, job_id: str) -> Job:
        """Return one of them.

        Raises:
            BackendError: it is not there, or the cluster does not answer.
        """
        with _errors(self.head):
            job = _job(self._client.get_job_info(job_id))
        if job is None:
            raise BackendError(f"job {printable(job_id)} is none of curvetune's")
        return job

    def send(
        self, job_id: str, entrypoint: str, environment: dict[str, Any], about: dict[str, str]
    ) -> bool:
        """Start a job; return False if one with that id is there already.

        Raises:
            BackendError: the cluster does not answer, or refuses it.
        """
        deadline = time.monotonic() + ORDER_S
        with _errors(self.head):
            while True:
                try:
                    self._client.submit_job(
                        entrypoint=entrypoint,
                        submission_id=job_id,
                        runtime_env=environment,
                        metadata=about,
                    )
                    return True
                except RuntimeError as error:
                    if "already exists" in str(error):
                        return False
                    is_starting = any(words in str(error) for words in NOT_YET)
                    if not is_starting or time.monotonic() > deadline:
                        raise
                time.sleep(1)

    def stop(self, job_id: str) -> None:
        """Ask a job to end; it goes on until its running cells have a checkpoint.

        Raises:
            BackendError: the cluster does not answer.
        """
        with _errors(self.head):
            self._client.stop_job(job_id)

    def logs(self, job_id: str) -> str:
        """Return what a job has printed until now.

        Raises:
            BackendError: the cluster does not answer.
        """
        with _errors(self.head):
            return self._client.get_job_logs(job_id)

    async def tail(self, job_id: str) -> AsyncGenerator[str, None]:
        """Yield what a job prints, from its beginning to its end; errors are those of aiohttp."""
        async for text in self._client.tail_job_logs(job_id):
            yield text


class _Client(JobSubmissionClient):
    """Ray's, whose requests would wait for ever, and have whatever token Ray finds."""

    def __init__(self, head: Head) -> None:
        self._of_head = head.headers
        named = (os.environ[name] for name in CA_BUNDLES if os.environ.get(name))
        trusted = next(named, True) if head.address.startswith("https") else True
        super().__init__(head.address, headers=head.headers, verify=trusted)
        self._headers = head.headers  # for its web socket too

    def _do_request(self, method: str, endpoint: str, **more: Any) -> requests.Response:
        self._headers = self._of_head
        wait_s = {"PUT": UPLOAD_S, "POST": ORDER_S}.get(method, ANSWER_S)
        return super()._do_request(method, endpoint, timeout=(CONNECT_S, wait_s), **more)


def _job(details: Any) -> Job | None:
    """Return one of Ray's jobs; None if it is no grid of ours."""
    about = details.metadata or {}
    if GRID not in about or not details.submission_id:
        return None
    return Job(
        details.submission_id,
        str(getattr(details.status, "value", details.status)),
        details.message or "",
        details.driver_exit_code,
        None if details.start_time is None else details.start_time / 1000,
        None if details.end_time is None else details.end_time / 1000,
        about,
    )


@contextlib.contextmanager
def _errors(head: Head) -> Iterator[None]:
    """Tell what Ray's client raises as an error of ours."""
    try:
        yield
    except (requests.exceptions.RequestException, ConnectionError) as error:
        raise BackendError(
            f"--address {head.address}: the cluster does not answer any more "
            f"({type(error).__name__}); what runs there goes on if its head lives"
        ) from error
    except AuthenticationError as error:
        raise BackendError(
            f"--address {head.address}: the cluster no longer takes the token; was it changed?"
        ) from error
    except RuntimeError as error:
        said = redact(printable(str(error).strip(" .\n").splitlines()[-1], 300))  # of a traceback
        raise BackendError(f"--address {head.address}: the cluster refuses: {said}") from error


@contextlib.contextmanager
def _without(names: tuple[str, ...]) -> Iterator[None]:
    """Unset variables of the environment while the block runs."""
    before = {name: os.environ.pop(name) for name in names if name in os.environ}
    try:
        yield
    finally:
        os.environ.update(before)
