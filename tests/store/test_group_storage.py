"""A storage that a group shares: modes are what the umask says, for each kind of file."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from other_users import ALICE, BOB, LAB, as_user, needs_root, shared
from tracking_helpers import runs_of

from curvetune.data.cache import kept
from curvetune.store.files import write_atomic
from curvetune.system.newfile import new_file

WRITERS = """
import sys, numpy
from pathlib import Path
from storage_fixtures import finish, make_cells, write_grid
from curvetune.data.cache import kept
from curvetune.tracking.sync.thread import sync
from curvetune.store.curves import CurveStore
from curvetune.store.arrays import save_arrays
from curvetune.store.lease import leased
root = Path(sys.argv[1])
seeds = [int(seed) for seed in sys.argv[2].split(",")]
cells = make_cells([{"name": "curvenet"}], imbalances=(1,), noise_rates=(0.4,), seeds=seeds)
write_grid(root, cells)
finish(root, cells[-1], 60)
CurveStore(root).write("0" * 15 + str(len(seeds)), numpy.zeros((2, 2), numpy.float32), {})
save_arrays(root / "splits" / "a.safetensors", {"x": numpy.zeros(3)})
with leased(root / "cells" / ("f" * 16)):
    pass
os.environ["CURVETUNE_CACHE"] = str(root / "cache")
kept("a", lambda: numpy.zeros(3, numpy.uint8))
from curvetune.tracking.base import default_uri
from curvetune.tracking.mlflow import MlflowTracker
sync(root, "small", MlflowTracker(default_uri(root), root))
"""


def modes(root: Path) -> dict[str, set[int]]:
    """The modes of all files, and of all folders, under `root`."""
    found: dict[str, set[int]] = {"files": set(), "folders": set()}
    for path in root.rglob("*"):
        kind = "folders" if path.is_dir() else "files"
        found[kind].add(stat.S_IMODE(path.stat().st_mode))
    return found


@pytest.mark.parametrize(
    ("umask", "files", "folders"),
    [(0o002, 0o664, 0o775), (0o022, 0o644, 0o755), (0o077, 0o600, 0o700), (0o027, 0o640, 0o750)],
)
def test_every_file_has_the_mode_that_the_umask_says(
    tmp_path: Path, umask: int, files: int, folders: int
) -> None:
    code = f"import os; os.umask({umask})\n{WRITERS}"
    root = tmp_path / "storage"
    done = subprocess.run(
        [sys.executable, "-c", code, str(root), "0"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    assert (root / "mlflow.db").exists()
    assert list((root / "mlartifacts").rglob("report.md"))
    assert list((root / "cache").rglob("*.npy"))
    assert modes(root) == {"files": {files}, "folders": {folders}}


@pytest.mark.parametrize("umask", [0o002, 0o027, 0o077, 0o000])
def test_a_file_is_new_and_follows_the_umask_of_its_moment(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        handle, path = new_file(tmp_path, ".x.")
        write_atomic(tmp_path / "y", b"content")
    finally:
        os.umask(before)
    assert os.pread(handle, 1, 0) == b""
    os.close(handle)
    assert {stat.S_IMODE(os.stat(p).st_mode) for p in (path, tmp_path / "y")} == {0o666 & ~umask}
    assert os.path.basename(path).startswith(".x.")


def test_no_thread_ever_sees_another_umask_than_its_own(tmp_path: Path) -> None:
    """To read the umask of a process is to set it: others would make files in between."""
    stop, wrong = threading.Event(), list[int]()

    def watch() -> None:
        while not stop.is_set():
            path = tmp_path / "watched"
            path.unlink(missing_ok=True)
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o666))
            if stat.S_IMODE(path.stat().st_mode) != 0o640:
                wrong.append(path.stat().st_mode)

    before = os.umask(0o027)
    thread = threading.Thread(target=watch)
    try:
        thread.start()
        for k in range(300):
            write_atomic(tmp_path / f"{k % 3}", b"x", durable=False)
    finally:
        stop.set()
        thread.join()
        os.umask(before)
    assert wrong == []


def test_names_that_are_taken_are_never_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".x.aa").write_text("mine")
    (tmp_path / ".x.bb").symlink_to(tmp_path / "elsewhere")
    names = iter(["aa", "bb", "cc"])
    monkeypatch.setattr("secrets.token_hex", lambda size: next(names))
    handle, path = new_file(tmp_path, ".x.")
    os.close(handle)
    assert path == str(tmp_path / ".x.cc")
    assert (tmp_path / ".x.aa").read_text() == "mine"
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.faults
@pytest.mark.slow
@needs_root
def test_two_users_of_a_group_share_a_storage(tmp_path: Path) -> None:
    root = shared(tmp_path / "storage")
    for user, seeds in ((ALICE, "0"), (BOB, "0,1"), (ALICE, "0,1,2")):
        done = as_user(user, WRITERS, root, seeds)
        assert done.returncode == 0, done.stderr
        assert "MLflow" not in done.stderr
    names = {
        "curvenet",
        "small",
        *(f"curvenet, imbalance 1, noise 0.4, seed {k}" for k in range(3)),
    }
    assert runs_of(root).keys() == names
    owners = {path.stat().st_uid for path in root.rglob("*")}
    assert owners >= {ALICE, BOB}
    assert {path.stat().st_gid for path in root.rglob("*")} == {LAB}
    assert {mode & 0o2020 for mode in modes(root)["folders"]} == {0o2020}


@needs_root
@pytest.mark.faults
@pytest.mark.slow
@pytest.mark.parametrize("what", ["mlflow.db", "."])
def test_a_database_of_another_user_is_one_line_that_says_whose_it_is(
    tmp_path: Path, what: str
) -> None:
    root = shared(tmp_path / "storage")
    assert as_user(ALICE, WRITERS, root, "0").returncode == 0
    (root / what).chmod(0o644 if what == "mlflow.db" else 0o2755)
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from curvetune.tracking.sync.thread import TrackerThread\n"
        "root = Path(sys.argv[1])\n"
        "from storage_fixtures import finish, make_cells, write_grid\n"
        "cells = make_cells([{'name': 'curvenet'}], imbalances=(1,), noise_rates=(0.4,), "
        "seeds=(0, 1))\n"
        "write_grid(root, cells); finish(root, cells[1], 70)\n"
        "with TrackerThread(root, 'small'): pass\n"
    )
    done = as_user(BOB, code, root)
    assert (done.returncode, done.stdout) == (0, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"MLflow at sqlite:///{root}/mlflow.db: ")
    mode = "-rw-r--r--" if what == "mlflow.db" else "drwxr-sr-x"
    assert f"cannot be written: it is {mode} of" in line
    assert f"of user {ALICE} and group {LAB}, and this is user {BOB}" in line
    assert "chmod g+w" in line
    assert "curvetune sync small" in line


@needs_root
@pytest.mark.skipif(shutil.which("unshare") is None, reason="needs unshare of util-linux")
def test_a_living_process_of_another_user_is_not_taken_over_where_proc_hides_it(
    tmp_path: Path,
) -> None:
    hidden = [
        "unshare",
        "-m",
        "sh",
        "-c",
        'mount -t proc -o hidepid=2 proc /proc && exec "$@"',
        "_",
    ]
    if subprocess.run([*hidden, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("this machine does not let root mount /proc")
    root = shared(tmp_path / "storage")
    hold = (
        "import sys, time\nfrom pathlib import Path\nfrom curvetune.store.lease import leased\n"
        "with leased(Path(sys.argv[1]) / 'cell'):\n"
        "    print('held', flush=True)\n    time.sleep(60)"
    )
    look = (
        "import sys\nfrom pathlib import Path\nfrom curvetune.store.lease import read_holder\n"
        "print(read_holder(Path(sys.argv[1]) / 'cell').alive)"
    )
    with subprocess.Popen(
        [sys.executable, "-c", hold, str(root)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        alive = as_user(BOB, look, root, before=hidden)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
    assert (alive.stdout, alive.stderr) == ("True\n", "")
    assert as_user(BOB, look, root, before=hidden).stdout == "False\n"


def test_an_array_in_the_cache_is_readable_for_whom_the_umask_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CURVETUNE_CACHE", str(tmp_path))
    before = os.umask(0o007)
    try:
        kept("x", lambda: np.zeros(3, np.uint8))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "arrays" / "x.npy").stat().st_mode) == 0o660
