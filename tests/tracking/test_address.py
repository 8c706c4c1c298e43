"""A storage may have any path: its database is in it, and nothing is made beside it."""

import os
import shutil
import sqlite3
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from tracking_helpers import assert_up_to_date, mlflow_server, new_tracker, runs_of, small

from curvetune.errors import ConfigError
from curvetune.status.doctor.inquiry import mlflow_database
from curvetune.status.failures import mlflow_run
from curvetune.tracking.address import address_of, folder_in, path_in
from curvetune.tracking.base import (
    DATABASE,
    RunSpec,
    database_file,
    default_uri,
    is_remote,
    resolve_uri,
)
from curvetune.tracking.mlflow import MlflowTracker
from curvetune.tracking.server import serve, server_command
from curvetune.tracking.sync.receipt import Receipt
from curvetune.tracking.sync.thread import sync

NAMES = [
    "plain",
    "a+b c",
    "a#b",
    "a&b=c;d",
    "user@host:5",
    "übung 日本",
    "a%20b",
    "50%25 done",
    "50%",
    "%zz",
    "what?",
    "?mode=memory",
    "a%3Fb?c=d#e",
    "quote'\"",
    "back\\slash",
    "new\nline",
    "[x]{y}~",
    ":memory:",
]


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("database")
    new_tracker(root)
    return root / DATABASE


@pytest.mark.parametrize("name", NAMES)
def test_mlflow_writes_to_the_database_in_the_storage_and_nowhere_else(
    tmp_path: Path, empty_database: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    around = tmp_path / "around"
    root = around / name
    root.mkdir(parents=True)
    monkeypatch.chdir(around)
    shutil.copy(empty_database, root / DATABASE)
    tracker = new_tracker(root)
    run = tracker.run(RunSpec("g", ("curvetune.grid", "g"), "g", None))
    tracker.write_files(run, {"a/file.txt": b"content"})
    assert [path.name for path in around.iterdir()] == [name]
    assert {path.name for path in root.iterdir()} == {DATABASE, "mlartifacts"}
    (count,) = sqlite3.connect(root / DATABASE).execute("SELECT count(*) FROM runs").fetchone()
    assert count == 1
    (written,) = (root / "mlartifacts").rglob("file.txt")
    assert written.read_bytes() == b"content"


@pytest.mark.parametrize("name", NAMES)
def test_an_address_is_read_as_the_path_that_it_was_made_of(name: str) -> None:
    from sqlalchemy.engine import make_url

    path = Path("/somewhere") / name / DATABASE
    address = address_of(path)
    assert make_url(address).database == str(path)
    assert not make_url(address).query
    assert path_in(address) == str(path)
    assert database_file(address) == path
    assert not is_remote(address)
    assert folder_in(path.as_uri()) == path


def test_an_ordinary_path_keeps_its_ordinary_address() -> None:
    assert default_uri("/data/my results_1.0") == "sqlite:////data/my results_1.0/mlflow.db"


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("http://127.0.0.1:5000/a%20b", None),
        ("postgresql://user@host/a%20b", None),
        ("sqlite://", None),
        ("sqlite:///:memory:", None),
        ("sqlite:////x/a.db?timeout=5", "/x/a.db"),
        ("sqlite:///relative.db", "relative.db"),
    ],
)
def test_other_addresses_have_no_path_or_the_plain_one(address: str, path: str | None) -> None:
    assert path_in(address) == path


@pytest.mark.parametrize("address", ["file://host/x", "http://host/x", "/x", "s3://b/x", ""])
def test_only_a_file_of_this_machine_has_a_folder(address: str) -> None:
    assert folder_in(address) is None


def test_a_path_that_is_no_text_is_refused_with_the_byte_and_what_to_do(tmp_path: Path) -> None:
    root = tmp_path / os.fsdecode(b"caf\xe9")
    with pytest.raises(ConfigError, match=r"the byte 0xe9, which is no text.*--storage"):
        resolve_uri(root, None)
    assert resolve_uri(root, "http://host:5000") == "http://host:5000"


def test_the_rest_of_a_path_behind_a_question_mark_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="write %3F for a `\\?` in a path"):
        resolve_uri(tmp_path, f"sqlite:///{tmp_path}/what?/mlflow.db")
    options = f"sqlite:///{tmp_path}/x.db?timeout=5&cached_statements=9"
    assert resolve_uri(tmp_path, options) == options


def test_a_given_address_with_escapes_makes_no_folder_beside_its_own(tmp_path: Path) -> None:
    (tmp_path / "a b").mkdir()
    MlflowTracker(f"sqlite:///{tmp_path}/a%20b/my.db", tmp_path / "storage")
    assert [path.name for path in tmp_path.iterdir()] == ["a b"]
    assert (tmp_path / "a b" / "my.db").stat().st_size > 0


def test_a_temporary_folder_with_a_percent_sign_does_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("t%41?", "storage"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "t%41?"))
    new_tracker(tmp_path / "storage")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["storage", "t%41?"]
    assert (tmp_path / "storage" / DATABASE).stat().st_size > 0


def test_every_command_finds_what_was_tracked_in_such_a_storage(
    tmp_path: Path, empty_database: Path
) -> None:
    root = tmp_path / "50%25 a?b#c é"
    root.mkdir()
    shutil.copy(empty_database, root / DATABASE)
    cells = small(root, 4)
    sync(root, "small", new_tracker(root))
    assert_up_to_date(root, cells)
    receipt = Receipt(root, "small", default_uri(root), log_models=False)
    receipt.keep(receipt.results())
    assert receipt.is_valid()
    run = next(r for r in runs_of(root).values() if "curvetune.cell_id" in r.data.tags)
    found = mlflow_run(root, "small", run.data.tags["curvetune.cell_id"])
    assert found["run_id"] == run.info.run_id
    schema = mlflow_database(default_uri(root))
    assert schema["schema"] == schema["needed"] is not None
    with mlflow_server(root) as port:
        top = runs_of(root)["small"].info.run_id
        url = f"http://127.0.0.1:{port}/get-artifact?run_id={top}&path=report.md"
        with urllib.request.urlopen(url, timeout=20) as answer:
            assert "curvenet" in answer.read().decode()
        listing = f"http://127.0.0.1:{port}/api/2.0/mlflow/artifacts/list?run_id={top}"
        with urllib.request.urlopen(listing, timeout=20) as answer:
            assert "report.md" in answer.read().decode()
    (root / DATABASE).unlink()  # while this process has it open
    sync(root, "small", new_tracker(root))
    (count,) = sqlite3.connect(root / DATABASE).execute("SELECT count(*) FROM runs").fetchone()
    assert count == 7
    assert [path.name for path in tmp_path.iterdir()] == [root.name]


def test_the_server_is_given_addresses_and_no_paths(tmp_path: Path) -> None:
    command = server_command("sqlite:///x", (tmp_path / "a%b").as_uri(), 5000)
    assert command[command.index("--artifacts-destination") + 1].endswith("/a%25b")


@pytest.mark.parametrize("name", ["mlflow.py", "click.py", "uvicorn.py", "profile.py"])
def test_the_server_is_mlflow_whatever_files_are_in_the_working_directory(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("raise SystemExit('this is a file of the user')")
    command = server_command("sqlite:///x", tmp_path.as_uri(), 5000)
    about = [*command[: command.index("server") + 1], "--help"]
    code = serve(about, "http://127.0.0.1:9", lambda: None)
    out, said = capfd.readouterr()
    assert code == 0, said
    assert "--backend-store-uri" in said
    assert out == ""


def test_the_command_line_refuses_what_cannot_be_before_anything_starts(tmp_path: Path) -> None:
    code = "from curvetune.cli import main; main()"
    root = os.fsencode(tmp_path) + b"/caf\xe9"
    done = subprocess.run(
        [sys.executable, "-c", code, "grid", "digits", "--storage", root],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert "the byte 0xe9" in done.stderr
    assert list(tmp_path.iterdir()) == []
