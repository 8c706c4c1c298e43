"""A server that wants a password: what is said where it refuses, and that no secret is told."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tracking_helpers import new_tracker, small

from curvetune.errors import BackendError
from curvetune.tracking.sync.thread import sync

OTHER_NAME = "Invalid Host header - possible DNS rebinding attack detected"  # MLflow 3.17's
NAMES = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")


@pytest.fixture
def uri(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of a server that answers all with one status and text."""
    status, body = request.param

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(body.encode())

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            pass

    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def refusal(root: Path, uri: str) -> str:
    """Return what is said of a server that refuses."""
    small(root, 1)
    with pytest.raises(BackendError) as refused:
        sync(root, "small", new_tracker(root, uri))
    return str(refused.value)


@pytest.mark.parametrize("uri", [(401, "You are not authenticated.")], indirect=True)
@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "a user without name and password"),
        ({"USERNAME": "ada"}, "a user without name and password"),
        ({"USERNAME": "ada", "PASSWORD": "not-this-one"}, "the user 'ada'"),
        ({"TOKEN": "not-this-one"}, "the token of MLFLOW_TRACKING_TOKEN"),
        ({"USERNAME": "ada", "PASSWORD": "x" * 9, "TOKEN": "not-this-one"}, "the user 'ada'"),
    ],
)
def test_a_refused_user_is_told_in_one_line_that_says_what_to_set(
    tmp_path: Path,
    uri: str,
    given: dict[str, str],
    named: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in given.items():
        monkeypatch.setenv(f"MLFLOW_TRACKING_{name}", value)
    told = refusal(tmp_path, uri)
    assert "\n" not in told
    assert f"MLflow at {uri}: it refuses {named}" in told
    assert all(name in told for name in NAMES)
    assert "not-this-one" not in told


@pytest.mark.parametrize("uri", [(403, "Permission denied")], indirect=True)
def test_a_user_who_may_not_write_is_told_so_with_the_servers_words(
    tmp_path: Path, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", "ada")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "the-right-one")
    told = refusal(tmp_path, uri)
    assert "the user 'ada' with" in told
    assert "may not do this there (403: Permission denied)" in told
    assert "the-right-one" not in told


@pytest.mark.parametrize("uri", [(403, OTHER_NAME)], indirect=True)
def test_a_server_that_is_called_by_a_name_it_does_not_know_is_told_with_its_option(
    tmp_path: Path, uri: str
) -> None:
    assert "--allowed-hosts" in refusal(tmp_path, uri)
