"""Batch systems and containers: long or foreign temporary folders, no home, `uv run`, shadowing."""

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from ray._common.utils import try_to_create_directory

from curvetune.cli.process.home import ensure_home
from curvetune.errors import BackendError
from curvetune.status.doctor.place import folder_finding
from curvetune.tune.ray_folder import (
    MOST_BYTES,
    OWN_BYTES,
    SOCKET,
    RayFolder,
    choose_folder,
    logs_of_this_process,
    own_folder,
)

ROOT = Path(__file__).parents[2]
NOBODY = 54321  # no user has this number
SHELL = shutil.which("dash") or shutil.which("sh") or ""
ONE_CELL = (
    *("grid", "digits", "--profile", "smoke", "--methods", "cross-entropy", "--seeds", "0"),
    *("--set", "noise_rate=0", "--set", "imbalance=1"),
)
# As the console script has it: without the working directory on the path.
MAIN = "import sys; sys.path.remove(''); from curvetune.cli import main; sys.exit(main())"


@pytest.mark.parametrize(
    ("more_bytes", "refusal"), [(0, "No such file"), (1, "too long"), (40, "too long")]
)
def test_the_longest_folder_that_is_let_through_has_room_for_a_socket(
    more_bytes: int, refusal: str
) -> None:
    folder = "/tmp/none" + "x" * (MOST_BYTES - len("/tmp/none") + more_bytes)
    with socket.socket(socket.AF_UNIX) as made, pytest.raises(OSError, match=refusal):
        made.connect(folder + SOCKET)


def test_a_folder_that_will_do_is_left_to_ray() -> None:
    assert choose_folder({}) == RayFolder(Path("/tmp/ray"))
    assert choose_folder({"TMPDIR": "", "RAY_TMPDIR": ""}) == RayFolder(Path("/tmp/ray"))
    both = {"TMPDIR": "/var/tmp", "RAY_TMPDIR": "/tmp/not-yet"}
    assert choose_folder(both) == RayFolder(Path("/tmp/not-yet/ray"))


@pytest.mark.parametrize("name", ["RAY_TMPDIR", "TMPDIR"])
@pytest.mark.parametrize("length", [MOST_BYTES + 1, 107, 200])
def test_a_long_folder_is_replaced_by_a_short_one(name: str, length: int, tmp_path: Path) -> None:
    named = str(tmp_path) + "/" + "é" * (length - len(str(tmp_path)))
    chosen = choose_folder({name: named})
    assert chosen.parent == Path("/tmp")
    assert "bytes long" in chosen.trouble
    assert folder_finding(None, {name: named}).status == "note"


@pytest.mark.parametrize(
    ("named", "why"),
    [("/dev/null", "not a folder"), ("scratch", "absolute"), (f"/tmp/{'x' * 90}", "bytes long")],
)
def test_where_no_folder_will_do_doctor_says_what_a_grid_says(named: str, why: str) -> None:
    with pytest.raises(BackendError, match=rf"{why}.*Set RAY_TMPDIR to a folder") as raised:
        choose_folder({"TMPDIR": named}, short=("/dev/zero", "/not/there"))
    finding = folder_finding(None, {"TMPDIR": named}, short=("/dev/zero", "/not/there"))
    assert (finding.status, finding.found) == ("fail", str(raised.value))
    assert folder_finding("head:6379", {"TMPDIR": named}, short=()).status == "ok"


def test_an_own_folder_is_private_and_gone_in_the_end_unless_ray_did_not_start(
    tmp_path: Path,
) -> None:
    tmp_path.chmod(0o755)  # as open as /tmp
    chosen = RayFolder(tmp_path / "ray", tmp_path, "too long")
    with own_folder(chosen) as folder:
        assert folder is not None
        try_to_create_directory(str(folder))  # as Ray begins: it opens the folder to everybody
        assert stat.S_IMODE(folder.stat().st_mode) == 0o777
        assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
        assert len(os.fsencode(folder)) - len(os.fsencode(tmp_path)) == OWN_BYTES
        (folder / "session").mkdir()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyboardInterrupt), own_folder(chosen) as folder:
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BackendError), own_folder(chosen):
        raise BackendError("it left no logs")
    assert list(tmp_path.iterdir()) == []

    def fail_with_logs() -> None:
        with own_folder(chosen) as folder:
            assert folder is not None
            (folder / f"session_2026-01-01_00-00-00_000000_{os.getpid()}").mkdir(parents=True)
            raise BackendError("its logs: there")

    with pytest.raises(BackendError):
        fail_with_logs()
    assert [path.name.startswith("ray-") for path in tmp_path.iterdir()] == [True]
    with own_folder(RayFolder(tmp_path / "ray")) as folder:
        assert folder is None


def test_the_logs_that_are_named_are_of_this_process(tmp_path: Path) -> None:
    assert logs_of_this_process(tmp_path / "none") is None
    for day, number in ((1, os.getpid()), (2, os.getpid()), (3, os.getpid() + 1)):
        (tmp_path / f"session_2026-01-0{day}_00-00-00_000000_{number}").mkdir()
    (tmp_path / "session_latest").symlink_to(
        tmp_path / f"session_2026-01-03_00-00-00_000000_{number}"
    )
    found = logs_of_this_process(tmp_path)
    assert found == tmp_path / f"session_2026-01-02_00-00-00_000000_{os.getpid()}" / "logs"


def test_a_home_that_is_there_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/proc/none")
    ensure_home()
    assert os.environ["HOME"] == "/proc/none"


def cleaned(environment: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment with `environment`, which may unset by an empty value."""
    merged = os.environ | {"RAY_USAGE_STATS_ENABLED": "0"} | dict(environment)
    return {name: value for name, value in merged.items() if value}


def python_of_all() -> str:
    """Return a Python that a user without a name can run, and that has what curvetune needs."""
    if os.getuid() != 0:
        pytest.skip("only root can become another user")
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    for program in (sys.executable, f"/usr/bin/{version}", f"/usr/local/bin/{version}"):
        try:
            done = as_nobody(program, "import ray", cwd=Path("/"))
        except OSError:
            continue
        if done.returncode == 0:
            return program
    pytest.skip("no Python that other users can run")


def as_nobody(
    program: str, code: str, *arguments: str, cwd: Path, **more: str
) -> subprocess.CompletedProcess[str]:
    """Run Python code as a user who has no entry, no name and no home."""
    paths = [str(ROOT), *(path for path in sys.path if path.endswith("site-packages"))]
    gone = dict.fromkeys(("HOME", "USER", "LOGNAME"), "")
    environment = cleaned({**gone, "PYTHONPATH": os.pathsep.join(paths), **more})
    return subprocess.run(
        [program, "-c", code, *arguments],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
        user=NOBODY,
        group=NOBODY,
        extra_groups=[],
        check=False,
    )


FOLDERS = """
import json, os, sys
from pathlib import Path
from curvetune.cli.process.home import ensure_home
from curvetune.tune.ray_folder import choose_folder
ensure_home()
chosen = [choose_folder({"RAY_TMPDIR": name}) for name in sys.argv[1:]]
found = [[str(c.parent), c.trouble] for c in chosen]
print(json.dumps([*found, str(Path.home()), os.access(Path.home(), os.W_OK)]))
"""


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """Return a folder near the root that all can read: pytest's own are too long for sockets."""
    with tempfile.TemporaryDirectory(prefix="ct-", dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_a_folder_of_another_user_is_left_and_a_home_is_made_where_none_is(
    short_folder: Path,
) -> None:
    program = python_of_all()
    for name in ("foreign/ray", "closed/ray", "empty"):
        (short_folder / name).mkdir(parents=True)
    (short_folder / "closed").chmod(0o700)
    names = [str(short_folder / name) for name in ("foreign", "closed", "empty")]
    done = as_nobody(program, FOLDERS, *names, cwd=Path("/"))
    assert done.returncode == 0, done.stderr
    *chosen, home, writable = json.loads(done.stdout)
    for parent, trouble in chosen:
        assert parent == "/tmp"
        assert trouble.endswith("cannot be written by this user")
    assert writable
    assert not Path(home).exists()


@pytest.mark.ray
def test_a_grid_runs_for_a_user_without_name_and_home_above_a_folder_called_torch(
    short_folder: Path,
) -> None:
    program = python_of_all()
    work = short_folder
    (work / "torch").mkdir(parents=True)
    (work / "torch" / "__init__.py").write_text("raise SystemExit(3)")
    (work / "foreign" / "ray").mkdir(parents=True)
    (work / "s").mkdir()
    os.chown(work / "s", NOBODY, NOBODY)
    before = {path.name for path in Path("/tmp").glob("ray-*")}
    places = {"RAY_TMPDIR": str(work / "foreign"), "CURVETUNE_CACHE": str(work / "s" / "cache")}
    storage = ("--storage", str(work / "s"))
    done = as_nobody(program, MAIN, *ONE_CELL, *storage, cwd=work, **places)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in Path("/tmp").glob("ray-*")} <= before


@pytest.mark.ray
@pytest.mark.faults
@pytest.mark.slow
def test_a_grid_runs_with_a_long_folder_a_closed_home_and_shadowing_files(tmp_path: Path) -> None:
    shadows = {"profile.py": "def f(:", "pydantic.py": "", "numpy.py": "raise SystemExit(3)"}
    for name, text in shadows.items():
        (tmp_path / name).write_text(text)
    folder = tmp_path / "scratch" / ("of_the_group_" * 8)
    folder.mkdir(parents=True)
    before = set(Path("/tmp").glob("ray-*"))
    places = {"TMPDIR": str(folder), "RAY_TMPDIR": "", "HOME": "/proc/no-home"}
    paths = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", MAIN, *ONE_CELL, "--storage", str(tmp_path / "s")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=cleaned(places | paths),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert set(Path("/tmp").glob("ray-*")) <= before


UV = """
from ray._private import worker
from curvetune.tune.cluster import _workers_as_driver
with _workers_as_driver():
    ours = worker._maybe_modify_runtime_env({}, False)
print(ours or "driver's", "|", sorted(worker._maybe_modify_runtime_env({}, False)))
"""


@pytest.mark.parametrize(("said", "ours"), [("", "driver's"), ("1", "py_executable")])
def test_workers_have_the_drivers_python_under_uv_run_unless_the_user_said_otherwise(
    said: str, ours: str, tmp_path: Path
) -> None:
    (tmp_path / "pyproject.toml").write_text("[project]\nname='a'\nversion='0'\n")
    (tmp_path / "probe_it.py").write_text(UV)
    shutil.copy(os.path.realpath(SHELL), tmp_path / "uv")  # Ray looks for a parent `uv run …`
    (tmp_path / "run").write_text(f'"{sys.executable}" "$1"; exit $?\n')
    done = subprocess.run(
        [tmp_path / "uv", "run", tmp_path / "probe_it.py"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=cleaned({"RAY_ENABLE_UV_RUN_RUNTIME_ENV": said, "PYTHONPATH": str(ROOT)}),
        check=False,
    )
    assert done.returncode == 0, done.stderr
    first, _, after = done.stdout.partition("|")
    assert ours in first
    assert "py_executable" in after  # that it was `uv run` in Ray's eyes
