"""Whether a grid that is sent is a new job, by a server that answers as a dashboard does."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import hooks
import pytest

from curvetune.errors import BackendError
from curvetune.jobs.client import Jobs
from curvetune.jobs.find import attach_or_send
from curvetune.jobs.head import Head, reach
from curvetune.jobs.submission import Order

FIRST = "curvetune-digits-0123456789ab"
ABOUT = {"curvetune_grid": "digits", "curvetune_digest": "0123456789ab"}


class Dashboard:
    """Keeps jobs as Ray 2.60 does: an id that was used is refused, also after it was deleted."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, object]] = {}
        self.used: set[str] = set()

    def add(self, job_id: str, status: str, about: dict[str, str]) -> None:
        self.used.add(job_id)
        self.jobs[job_id] = {
            "type": "SUBMISSION",
            "submission_id": job_id,
            "entrypoint": "true",
            "status": status,
            "metadata": about,
            "start_time": 1000 * len(self.used),
        }

    def answer(self, request: hooks.Request) -> tuple[int, bytes]:
        if request.path == "/api/version":
            return 200, json.dumps({"version": "4", "ray_version": "2.60.0"}).encode()
        if request.path.startswith("/api/packages/"):
            return 200, b"{}"  # it is there already
        if request.method == "POST":
            asked = json.loads(request.body)
            job_id = asked["submission_id"]
            if job_id in self.used:
                return 500, f"ValueError: Job with submission_id {job_id} already exists".encode()
            self.add(job_id, "PENDING", asked["metadata"])
            return 200, json.dumps({"job_id": job_id, "submission_id": job_id}).encode()
        if (found := re.fullmatch(r"/api/jobs/([^/]+)", request.path)) is not None:
            return 200, json.dumps(self.jobs[found[1]]).encode()
        return 200, json.dumps(list(self.jobs.values())).encode()


@pytest.fixture
def dashboard() -> Dashboard:
    return Dashboard()


@pytest.fixture
def jobs(dashboard: Dashboard, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    monkeypatch.setenv("RAY_ADDRESS", "192.0.2.9:6379")  # which Ray's client would ask
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://192.0.2.9:8265")
    with hooks.listening(dashboard.answer) as server:
        address = f"http://127.0.0.1:{server.port}"
        yield Jobs(reach(address, insecure=False, tell=print))


@pytest.fixture
def order(tmp_path: Path) -> Order:
    (tmp_path / "file").write_text("x")
    return Order(FIRST, "true", {"working_dir": str(tmp_path)}, ABOUT)


def test_the_first_time_a_grid_is_a_new_job(jobs: Jobs, order: Order) -> None:
    job, is_new = attach_or_send(jobs, order)
    assert (job.job_id, job.attempt, is_new) == (FIRST, 1, True)


@pytest.mark.parametrize("status", ["PENDING", "RUNNING"])
def test_a_grid_that_runs_is_attached_to(
    status: str, jobs: Jobs, order: Order, dashboard: Dashboard
) -> None:
    dashboard.add(FIRST, "FAILED", ABOUT)
    dashboard.add(f"{FIRST}-2", status, {**ABOUT, "curvetune_attempt": "2"})
    job, is_new = attach_or_send(jobs, order)
    assert (job.job_id, is_new) == (f"{FIRST}-2", False)


@pytest.mark.parametrize("status", ["SUCCEEDED", "FAILED", "STOPPED"])
def test_one_that_has_ended_is_followed_by_another_attempt(
    status: str, jobs: Jobs, order: Order, dashboard: Dashboard
) -> None:
    dashboard.add(FIRST, status, ABOUT)
    job, is_new = attach_or_send(jobs, order)
    assert (job.job_id, job.attempt, is_new) == (f"{FIRST}-2", 2, True)


def test_other_grids_and_jobs_of_others_are_left_alone(
    jobs: Jobs, order: Order, dashboard: Dashboard
) -> None:
    dashboard.add("raysubmit_1", "RUNNING", {})
    dashboard.add("curvetune-digits-ba9876543210", "RUNNING", {**ABOUT, "curvetune_digest": "ba"})
    job, is_new = attach_or_send(jobs, order)
    assert (job.job_id, is_new) == (FIRST, True)
    assert [one.job_id for one in jobs.all()] == ["curvetune-digits-ba9876543210", FIRST]


def test_an_id_that_was_used_and_deleted_is_not_used_again(
    jobs: Jobs, order: Order, dashboard: Dashboard
) -> None:
    dashboard.used |= {FIRST, f"{FIRST}-2"}
    job, is_new = attach_or_send(jobs, order)
    assert (job.job_id, job.attempt, is_new) == (f"{FIRST}-3", 3, True)


def test_of_two_that_send_at_once_the_later_one_attaches(
    jobs: Jobs, order: Order, dashboard: Dashboard
) -> None:
    add = dashboard.add

    def faster(job_id: str, status: str, about: dict[str, str]) -> None:
        raise AssertionError(f"{job_id} was taken")

    answer = dashboard.answer
    listed: list[hooks.Request] = []

    def another_is_faster(request: hooks.Request) -> tuple[int, bytes]:
        reply = answer(request)
        if request.path == "/api/jobs/" and request.method == "GET" and not listed:
            listed.append(request)
            add(FIRST, "RUNNING", ABOUT)  # between our look and our order
            dashboard.add = faster  # type: ignore[method-assign]
        return reply

    with hooks.listening(another_is_faster) as server:
        at_once = Jobs(reach(f"http://127.0.0.1:{server.port}", insecure=False, tell=print))
        job, is_new = attach_or_send(at_once, order)
    assert (job.job_id, is_new) == (FIRST, False)


@pytest.mark.parametrize(
    "says",
    [
        "No available agent to submit job, please try again later.",
        "Traceback (most recent call last):\n…\naiohttp.client_exceptions.ClientConnectorError: …",
    ],
)
def test_a_head_that_cannot_start_jobs_yet_is_asked_again(
    says: str, order: Order, dashboard: Dashboard
) -> None:
    refusals = [says]

    def starting(request: hooks.Request) -> tuple[int, bytes]:
        if request.method == "POST" and refusals:
            return 500, refusals.pop().encode()
        return dashboard.answer(request)

    with hooks.listening(starting) as server:
        late = Jobs(reach(f"http://127.0.0.1:{server.port}", insecure=False, tell=print))
        job, is_new = attach_or_send(late, order)
    assert (job.job_id, is_new) == (FIRST, True)


def test_what_a_head_refuses_is_told_by_its_last_line(order: Order, dashboard: Dashboard) -> None:
    text = b"Traceback (most recent call last):\n  File ...\nOSError: no space\n"

    def refusing(request: hooks.Request) -> tuple[int, bytes]:
        return (500, text) if request.method == "POST" else dashboard.answer(request)

    with hooks.listening(refusing) as server:
        full = Jobs(reach(f"http://127.0.0.1:{server.port}", insecure=False, tell=print))
        with pytest.raises(BackendError, match="the cluster refuses: OSError: no space"):
            attach_or_send(full, order)


def test_a_head_that_is_gone_is_told_in_one_line(order: Order, dashboard: Dashboard) -> None:
    with hooks.listening(dashboard.answer) as server:
        gone = Jobs(Head(f"http://127.0.0.1:{server.port}", None, "2.60.0"))
    with pytest.raises(BackendError, match="does not answer any more") as caught:
        attach_or_send(gone, order)
    assert "\n" not in str(caught.value)
