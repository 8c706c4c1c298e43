"""A file of MLflow's is there with all its tables, or not at all."""

import signal
import subprocess
import sys
from pathlib import Path

from curvetune.tracking.base import DATABASE, RunSpec, default_uri
from curvetune.tracking.database import Database
from curvetune.tracking.mlflow import MlflowTracker


def test_a_process_that_is_killed_while_mlflow_makes_its_tables_leaves_no_database(
    tmp_path: Path,
) -> None:
    code = (
        "import os, signal, sys\n"
        "from alembic import op\n"
        "from curvetune.tracking.mlflow import MlflowTracker\n"
        "add = op.add_column  # long after the first tables, long before the last ones\n"
        "op.add_column = lambda *args, **options: os.kill(os.getpid(), signal.SIGKILL)\n"
        "MlflowTracker(sys.argv[1], sys.argv[2])\n"
    )
    command = [sys.executable, "-c", code, default_uri(tmp_path), str(tmp_path)]
    assert subprocess.run(command, cwd=tmp_path).returncode == -signal.SIGKILL
    assert not (tmp_path / DATABASE).exists()
    tracker = MlflowTracker(default_uri(tmp_path), tmp_path)
    assert tracker.run(RunSpec("made", ("curvetune.grid", "x"), "x", None)).run_id
    assert [path.name for path in tmp_path.iterdir()] == [DATABASE]


def test_of_two_processes_that_make_a_database_at_once_the_first_wins(tmp_path: Path) -> None:
    path = tmp_path / DATABASE

    def while_another_is_faster(uri: str) -> None:
        Path(uri.removeprefix("sqlite:///")).write_text("mine")
        path.write_text("theirs")

    Database(f"sqlite:///{path}").create(while_another_is_faster)
    assert path.read_text() == "theirs"
    assert [found.name for found in tmp_path.iterdir()] == [DATABASE]


def test_a_database_that_is_there_and_a_server_are_left_alone(tmp_path: Path) -> None:
    def never(uri: str) -> None:
        raise AssertionError(uri)

    (tmp_path / DATABASE).write_text("there")
    for uri in (default_uri(tmp_path), "http://127.0.0.1:5000", "postgresql://host/x"):
        Database(uri).create(never)
    assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [
        (DATABASE, "there")
    ]
