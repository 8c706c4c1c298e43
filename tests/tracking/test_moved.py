"""A storage that was moved or copied keeps its artifacts to itself."""

import shutil
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest
from storage_fixtures import START, finish, write_grid
from tracking_helpers import cell_name, new_tracker, runs_of, small, the_cells

from curvetune.errors import BackendError
from curvetune.tracking.base import DATABASE, RunSpec, default_uri
from curvetune.tracking.moved import bring_along
from curvetune.tracking.sync.thread import TrackerThread, sync


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A storage with two of four cells done, and tracked; to be copied."""
    root = tmp_path_factory.mktemp("original") / "results"
    root.mkdir()
    small(root, 2)
    sync(root, "small", new_tracker(root))
    return root


@pytest.fixture
def storage(tmp_path: Path, original: Path) -> Path:
    """A storage of its own, tracked where it is."""
    root = tmp_path / "results"
    shutil.copytree(original, root)
    bring_along(root / DATABASE, root)
    return root


def content(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def artifact(root: Path, run: str, name: str, uri: str | None = None) -> str:
    from mlflow import MlflowClient

    client = MlflowClient(uri or default_uri(root))
    return Path(
        client.download_artifacts(runs_of(root, uri=uri)[run].info.run_id, name)
    ).read_text()


def go_on(root: Path) -> None:
    """Finish the other two cells."""
    cells = the_cells()
    write_grid(root, cells)
    for k, cell in enumerate(cells[2:], 2):
        finish(root, cell, 60 + k, start=START + 100 * k)


@pytest.mark.parametrize("name", ["moved", "50% moved?", "deeper/é/moved"])
def test_after_a_move_old_and_new_artifacts_are_at_the_new_place(
    storage: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    before = artifact(storage, "small", "report.md")
    moved = storage.parent / name
    moved.parent.mkdir(parents=True, exist_ok=True)
    storage.rename(moved)
    runs = {name: run.info.run_id for name, run in runs_of(moved).items()}
    tracker = new_tracker(moved)
    assert artifact(moved, "small", "report.md") == before
    go_on(moved)
    sync(moved, "small", tracker)
    assert artifact(moved, "small", "report.md") != before
    assert {n: r.info.run_id for n, r in runs_of(moved).items()}.items() >= runs.items()
    assert not storage.exists()
    (line,) = caplog.messages
    assert f"moved or copied; MLflow's files are now those in {moved}/mlartifacts" in line
    assert str(storage) in line
    new_tracker(moved)
    assert len(caplog.messages) == 1


def test_a_copy_never_writes_to_the_storage_that_it_was_copied_from(storage: Path) -> None:
    copy = storage.parent / "copy"
    shutil.copytree(storage, copy)
    before = content(storage)
    go_on(copy)
    sync(copy, "small", new_tracker(copy))
    assert content(storage) == before
    last = cell_name(the_cells()[3])
    for run in runs_of(copy).values():
        assert run.info.artifact_uri.startswith(copy.as_uri())
    assert last in runs_of(copy)
    assert last not in runs_of(storage)
    go_on(storage)
    sync(storage, "small", new_tracker(storage))
    for run in runs_of(storage).values():
        assert run.info.artifact_uri.startswith(storage.as_uri())


def test_a_copy_without_the_artifacts_makes_its_own(storage: Path) -> None:
    copy = storage.parent / "copy"
    shutil.copytree(storage, copy, ignore=shutil.ignore_patterns("mlartifacts"))
    before = content(storage)
    go_on(copy)
    sync(copy, "small", new_tracker(copy))
    assert content(storage) == before
    assert "curvenet" in artifact(copy, "small", "report.md")


def test_a_storage_that_is_reached_by_another_path_is_not_a_moved_one(
    storage: Path, caplog: pytest.LogCaptureFixture
) -> None:
    link = storage.parent / "link"
    link.symlink_to(storage)
    before = content(storage)
    assert bring_along(link / DATABASE, link) == []
    new_tracker(link)
    assert content(storage) == before
    assert caplog.messages == []


def test_a_finished_grid_is_corrected_although_its_receipt_is_valid(
    storage: Path, caplog: pytest.LogCaptureFixture
) -> None:
    go_on(storage)
    TrackerThread(storage, "small").catch_up()
    moved = storage.parent / "moved"
    storage.rename(moved)  # neither the file nor its times change
    TrackerThread(moved, "small").catch_up()
    assert "curvenet" in artifact(moved, "small", "report.md")
    assert len([m for m in caplog.messages if "moved or copied" in m]) == 1


def test_experiments_that_are_not_ours_stay_where_they_are(storage: Path) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(default_uri(storage))
    theirs = (storage.parent / "theirs").as_uri()
    client.create_experiment("theirs", theirs)
    moved = storage.parent / "moved"
    storage.rename(moved)
    assert bring_along(moved / DATABASE, moved) == [storage]
    found = MlflowClient(default_uri(moved))
    assert found.get_experiment_by_name("theirs").artifact_location == theirs
    place = found.get_experiment_by_name("small").artifact_location
    assert place == (moved / "mlartifacts" / "small").as_uri()


def test_a_database_for_several_storages_follows_only_those_that_are_gone(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/shared.db"
    one, two = tmp_path / "one", tmp_path / "two"
    for root in (one, two):
        root.mkdir()
        tracker = new_tracker(root, uri)
        run = tracker.run(RunSpec(root.name, ("curvetune.grid", root.name), root.name, None))
        tracker.write_files(run, {"file.txt": root.name.encode()})
    assert bring_along(tmp_path / "shared.db", one) == []
    moved = tmp_path / "moved"
    two.rename(moved)
    assert bring_along(tmp_path / "shared.db", one) == []
    assert bring_along(tmp_path / "shared.db", moved) == [two]
    with sqlite3.connect(tmp_path / "shared.db") as connection:
        found = dict(connection.execute("SELECT name, artifact_uri FROM runs").fetchall())
    assert found["one"].startswith((one / "mlartifacts").as_uri() + "/one/")
    assert found["two"].startswith((moved / "mlartifacts").as_uri() + "/two/")


def test_the_database_of_one_storage_may_serve_another_that_has_none(tmp_path: Path) -> None:
    home, guest = tmp_path / "home", tmp_path / "guest"
    for root in (home, guest):
        root.mkdir()
    uri = default_uri(home)
    tracker = new_tracker(guest, uri)
    run = tracker.run(RunSpec("g", ("curvetune.grid", "g"), "g", None))
    tracker.write_files(run, {"file.txt": b"of the guest"})
    assert bring_along(home / DATABASE, home) == []
    new_tracker(home)
    assert len(list((guest / "mlartifacts").rglob("file.txt"))) == 1


@pytest.mark.parametrize("what", ["nothing", "empty", "other"])
def test_what_is_no_database_of_mlflow_is_left_alone(tmp_path: Path, what: str) -> None:
    database = tmp_path / DATABASE
    if what == "empty":
        database.touch()
    elif what == "other":
        with sqlite3.connect(database) as connection:
            connection.execute("CREATE TABLE t (x)")
    before = database.read_bytes() if database.exists() else None
    assert bring_along(database, tmp_path) == []
    assert (database.read_bytes() if database.exists() else None) == before


def test_a_moved_database_that_is_locked_is_not_written_past(
    storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curvetune.tracking.moved.BUSY_S", 0.1)
    moved = storage.parent / "moved"
    storage.rename(moved)
    holder: Any = sqlite3.connect(moved / DATABASE, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(BackendError, match="before it was moved, and cannot be corrected"):
        new_tracker(moved)
    holder.execute("ROLLBACK")
    new_tracker(moved)
    assert "curvenet" in artifact(moved, "small", "report.md")


def test_the_pages_of_a_moved_storage_name_its_files(
    storage: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from curvetune.cli import info
    from curvetune.tracking import server

    moved = storage.parent / "moved"
    storage.rename(moved)
    monkeypatch.setattr(server, "server_command", lambda *_: [sys.executable, "-c", "pass"])
    info.ui(moved, 5000)
    assert "the storage was moved or copied" in capsys.readouterr().err
    assert "curvenet" in artifact(moved, "small", "report.md")
