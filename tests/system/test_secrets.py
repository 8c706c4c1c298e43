"""F16: a secret in the environment or in an address is never written, printed or sent.

A real grid runs, with a cell whose error tells every secret; then all that came of it is searched.
"""

import base64
import json
import os
import shlex
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import hooks
import pytest
from leaky_cell import SECRETS, URI
from storage_fixtures import fail, make_cells, write_grid

from curvetune.errors import BackendError
from curvetune.grids.cells import read_grid
from curvetune.store import CellStore
from curvetune.system import redact

pytestmark = pytest.mark.faults

# Every secret of the environment, of leaky_cell.URI and of the commands below, as a text would
# have it: without what is known to stand around it.
NEVER = (
    SECRETS["AWS_SECRET_ACCESS_KEY"],
    quote(SECRETS["AWS_SECRET_ACCESS_KEY"], safe=""),
    SECRETS["MLFLOW_TRACKING_PASSWORD"],
    SECRETS["RAY_AUTH_TOKEN"],
    "d4tabase-pw",
    "pa%2Fss-w0rd!",
    "pa/ss-w0rd!",
    "scientist",
    "q-u-e-r-y",
    "h00k",
    base64.b64encode(b"scientist:pa/ss-w0rd!").decode(),
    base64.b64encode(b"bot:h00k-password").decode(),
)
UNREACHABLE = URI.replace("tracker.invalid:5000", "127.0.0.1:1")
SPACE = """
base:
  data: {name: digits, train_limit: 150, test_limit: 100}
  bias: {noise: symmetric, noise_rate: 0.4}
  model: {name: resnet8}
  allocate: {epochs: 2, batch_size: 32, milestones: [1], warmup: 0}
grid:
  seed: [0, 1]
  method:
    - {name: cross-entropy}
"""


@dataclass
class Flow:
    """All that some commands left and said."""

    folder: Path
    said: dict[str, str]
    codes: dict[str, int]
    hook: list[hooks.Request]

    def written(self) -> dict[str, bytes]:
        """Everything in the storage, MLflow's database, and Ray's own logs included."""
        files = [path for path in self.folder.rglob("*") if path.is_file()]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in files}


def curvetune(arguments: Sequence[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of leaky_cell.py with secrets around it."""
    root, support = Path(__file__).parents[2], Path(hooks.__file__).parent
    paths = [str(root), str(support), os.environ.get("PYTHONPATH", "")]
    more = {"PYTHONPATH": os.pathsep.join(paths), "RAY_TMPDIR": str(folder / "ray")}
    return subprocess.run(
        [sys.executable, str(support / "leaky_cell.py"), *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**os.environ, **SECRETS, **more, "OMP_NUM_THREADS": "1", "COLUMNS": "200"},
        timeout=120,
        check=False,
    )


@pytest.fixture(scope="module")
def flow() -> Iterator[Flow]:
    # pytest's own folders are too long for the names of Ray's sockets
    with tempfile.TemporaryDirectory(prefix="ct-") as name, hooks.listening() as hook:
        folder = Path(name)
        (folder / "leaky.yaml").write_text(SPACE)
        address = f"http://bot:h00k-password@127.0.0.1:{hook.port}/h00k-path?k=h00k-query"
        storage, to_nobody = ["--storage", "out"], ["--tracking-uri", UNREACHABLE]
        commands = {
            "grid": ["leaky", "grid", "leaky.yaml", *storage, "--notify", address],
            "status": ["status", "leaky", *storage],
            "status as JSON": ["status", "leaky", *storage, "--json"],
            "report as JSON": ["report", "leaky", *storage, "--json"],
            "grid without a tracker": [
                *("grid", "leaky.yaml", "--seeds", "0", *storage, *to_nobody),
                f"--notify={address.replace(str(hook.port), '1')}",
            ],
            "status after it": ["status", "leaky", *storage, "--json"],
            "sync": ["sync", "leaky", *storage, *to_nobody, "--json"],
            "doctor": ["doctor", *storage, *to_nobody],
            "one argument too many": ["grid", "leaky.yaml", UNREACHABLE],
            "wrong option": ["grid", "leaky.yaml", f"--trackng-uri={UNREACHABLE}"],
            "wrong command": [UNREACHABLE],
            "wrong hook": ["grid", "leaky.yaml", "--notify", address.replace("http", "ftp", 1)],
            "wrong tracker": ["grid", "leaky.yaml", "--tracking-uri", "file" + URI[4:]],
        }
        done = {name: curvetune(command, folder) for name, command in commands.items()}
        said = {name: result.stdout + result.stderr for name, result in done.items()}
        codes = {name: result.returncode for name, result in done.items()}
        yield Flow(folder, said, codes, hook.requests)


@pytest.mark.ray
def test_f16_no_secret_is_in_anything_that_was_written_or_said(flow: Flow) -> None:
    places = flow.written() | {name: text.encode() for name, text in flow.said.items()}
    found = [(place, s) for place, text in places.items() for s in NEVER if s.encode() in text]
    assert found == []


@pytest.mark.ray
def test_f16_the_commands_did_what_was_to_be_searched(flow: Flow) -> None:
    assert list(flow.codes.values()) == [3, 0, 0, 0, 0, 0, 5, 5, 2, 2, 2, 2, 2]
    assert "RuntimeError: no connection to http://***@tracker.invalid:5000" in flow.said["grid"]
    assert "cannot be reached" in flow.said["grid without a tracker"]
    assert "--notify http://***@127.0.0.1:1/***: " in flow.said["grid without a tracker"]
    written = flow.written()
    assert any(name.endswith("FAILED.json") for name in written)
    assert b"no connection to" in written["out/mlflow.db"]
    assert any("runtime_env_agent.log" in name for name in written)


@pytest.mark.ray
def test_f16_the_hook_itself_is_sent_its_password_and_nothing_else_of_it(flow: Flow) -> None:
    (request,) = flow.hook
    assert request.headers["Authorization"] == f"Basic {NEVER[-1]}"
    assert request.path == "/h00k-path?k=h00k-query"
    assert json.loads(request.body)["state"] == "failed"
    assert not any(secret.encode() in request.body for secret in NEVER)


@pytest.mark.ray
def test_f16_a_command_without_its_secrets_says_so_and_can_still_be_typed(flow: Flow) -> None:
    told = json.loads(flow.said["status after it"])["command"]
    command, _, remark = told.partition("  # ")
    assert shlex.split(command)[:5] == ["curvetune", "grid", "leaky.yaml", "--seeds", "0"]
    assert "--tracking-uri 'http://***@127.0.0.1:1/mlflow?token=***'" in command
    assert "put it in again" in remark
    assert shlex.split(told, comments=True) == shlex.split(command)


@pytest.fixture
def secretive(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("http://me:pw@host:5000/x", "http://***@host:5000/x"),
        ("https://token@host", "https://***@host"),
        ("https://host/?token=abc&page=2", "https://host/?token=***&page=***"),
        ("https://host/#abc", "https://host/#***"),
        ("postgresql://me:a/b@c@db/runs", "postgresql://***@db/runs"),
        ("me:pw@host:5000", "***@host:5000"),
        ("http://host:5000/a@b", "http://host:5000/a@b"),
        ("http://[::1]:5000/a@b", "http://[::1]:5000/a@b"),
        ("sqlite:////a/mlflow.db", "sqlite:////a/mlflow.db"),
        ("databricks", "databricks"),
    ],
)
def test_an_address_is_shown_without_user_password_and_values(uri: str, expected: str) -> None:
    assert redact.shown(uri) == expected
    assert redact.shown(expected) == expected


@pytest.mark.usefixtures("secretive")
def test_known_secrets_go_wherever_they_stand_and_nothing_else_does() -> None:
    secret = SECRETS["AWS_SECRET_ACCESS_KEY"]
    for spelled in (secret, quote(secret, safe=""), json.dumps(secret), repr(secret)):
        assert "wJalr" not in redact.redact(f"key={spelled} in {spelled}!")
    text = "epoch 3 of 5, loss 0.25: 10:1 imbalance, a@b, {'seed': 1}, http://host:5000/x"
    assert redact.redact(text) == text


@pytest.mark.parametrize(
    "text",
    [
        "connect(password=hunter2)",
        "connect('http://me:hunter2@db/x') failed",
        "GET /x?api_key=hunter2&y=1",
        "{'password': 'hunter2'}",
        '{"aws_secret_access_key": "hunter2"}',
        "Authorization: Basic aHVudGVyMg==hunter2",
        "see https://host/path?whatever=hunter2",
    ],
)
def test_what_looks_like_a_secret_goes_though_nobody_knows_it(text: str) -> None:
    once = redact.redact(text)
    assert "hunter2" not in once
    assert redact.redact(once) == once


@pytest.mark.usefixtures("secretive")
def test_a_variable_that_says_where_a_secret_is_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", "/etc/ray/auth")
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("TOKENIZERS_PARALLELISM", "false")
    text = "/etc/ray/auth, disabled, false"
    assert redact.redact(text) == text


def test_a_plain_command_stays_as_it_was_typed() -> None:
    words = ["grid", "my space.yaml", "--set", "imbalance=20", "--tracking-uri", "http://host:5000"]
    assert shlex.split(redact.command(words)) == ["curvetune", *words]


@pytest.mark.usefixtures("secretive")
def test_what_others_wrote_with_a_secret_is_shown_without(tmp_path: Path) -> None:
    cells = make_cells()
    write_grid(tmp_path, cells)
    fail(tmp_path, cells[0])
    # as a version before this one wrote it, or a worker elsewhere
    for path, plain, address in (
        (tmp_path / "grids" / "small.json", "grid small", " --tracking-uri http://a:hunter2@h"),
        (next(tmp_path.rglob("FAILED.json")), "no luck", " at http://me:hunter2@db/x"),
    ):
        path.write_text(path.read_text().replace(plain, plain + address))
    grid = read_grid(tmp_path, "small")
    assert grid.command == "curvetune grid small --tracking-uri http://***@h"
    (failed,) = [cell for cell in grid.cells if cell.state == "failed"]
    assert failed.error == "RuntimeError: no luck at http://***@db/x"
    failure = CellStore(tmp_path).failure(failed.cell_id)
    assert failure is not None
    assert "hunter2" not in failure["log"]


@pytest.mark.usefixtures("secretive")
def test_a_server_that_repeats_what_it_was_sent_is_not_repeated(tmp_path: Path) -> None:
    from curvetune.tracking.base import RunSpec
    from curvetune.tracking.mlflow import MlflowTracker

    with hooks.listening(hooks.repeat) as server, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        uri = URI.replace("tracker.invalid:5000/mlflow?token=q-u-e-r-y-t0ken", "127.0.0.1:")
        with pytest.raises(BackendError) as caught:
            MlflowTracker(f"{uri}{server.port}", tmp_path).run(RunSpec("e", ("a", "b"), "n", None))
    assert server.requests
    assert "500" in str(caught.value)
    assert not [secret for secret in NEVER if secret in str(caught.value)]
