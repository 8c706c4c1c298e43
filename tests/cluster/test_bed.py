"""The bed is what the tests take it for: hosts apart, that can be hurt, and nothing is left."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import bed as beds
import pytest
from bed import SHARED, Bed, a_bed
from commands import until
from venvs import with_code, without_curvetune

WHY_NOT = beds.why_not()
pytestmark = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], 7000), 2)"
SERVE = "from http.server import test; test(port=7000, bind='0.0.0.0')"


def answers(bed: Bed, host: str) -> bool:
    """Say whether `host` reaches a server on h1."""
    return bed.run(host, "python", "-c", CONNECT, bed.ip("h1")).code == 0


def is_alive(pid: str) -> bool:
    """Say whether a process is there and not only waits to be forgotten (a zombie)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_hosts_have_names_folders_and_processes_of_their_own_and_share_one_folder(
    bed: Bed,
) -> None:
    assert [bed.run(host, "hostname").output.strip() for host in bed.hosts] == ["h1", "h2", "h3"]
    bed.run("h1", "sh", "-c", f"echo a > /tmp/own; echo b > own; echo c > {SHARED}/all")
    looked = f"ls /tmp/own /home/ct/own 2>/dev/null; cat {SHARED}/all; ps -e | grep -c python"
    assert bed.run("h2", "sh", "-c", looked).output.split() == ["c", "1"]  # its first process
    assert (bed.tmp("h1") / "own").read_text() == "a\n"
    assert (bed.home("h1") / "own").read_text() == "b\n"


def test_a_cut_cable_separates_a_host_until_it_is_mended(bed: Bed) -> None:
    server = bed.start("h1", "python", "-c", SERVE)
    server.says("Serving HTTP")
    until(lambda: answers(bed, "h2"), 20, "h2 reaches h1")
    bed.cut("h2")
    assert not answers(bed, "h2")
    until(lambda: answers(bed, "h3"), 20, "h3 reaches h1")
    bed.mend("h2")
    until(lambda: answers(bed, "h2"), 20, "h2 reaches h1 again")


def test_a_crash_ends_every_process_of_one_host(bed: Bed) -> None:
    server, other = bed.start("h1", "sleep", "600"), bed.start("h2", "sleep", "600")
    bed.crash("h1")
    assert server.wait(10).code != 0
    assert other.poll() is None
    bed.boot("h1")
    assert bed.run("h1", "true").code == 0


def test_the_shared_folder_can_be_read_only_or_missing_in_one_host(bed: Bed) -> None:
    write = ["touch", f"{SHARED}/file"]
    bed.share("h2", "ro")
    assert "Read-only" in bed.run("h2", *write).output
    assert bed.run("h3", *write).code == 0
    bed.share("h2", "rw")
    assert bed.run("h2", *write).code == 0
    bed.share("h2", "off")
    assert bed.run("h2", "ls", SHARED).output == ""
    bed.share("h2", "on")
    assert bed.run("h2", "ls", SHARED).output == "file\n"


@pytest.mark.skipif(not shutil.which("cc"), reason="the shim of clocks needs cc")
def test_a_skewed_clock_is_that_of_one_host_and_not_that_of_files(bed: Bed) -> None:
    bed.skew("h2", 3600)
    told = "import os, time; open('f', 'w'); print(time.time() - os.stat('f').st_mtime)"
    ahead = [float(bed.run(host, "python", "-c", told).output) for host in ("h1", "h2")]
    assert ahead == pytest.approx([0, 3600], abs=60)


def test_a_host_can_be_without_curvetune_or_have_other_code_of_it(bed: Bed, tmp_path: Path) -> None:
    edits = {"curvetune/config/cell.py": ("CELL_VERSION = ", "CELL_VERSION = 1000 + ")}
    bed.venvs["h1"] = without_curvetune(bed.tools / "bare")
    bed.venvs["h2"] = with_code(bed.tools / "other", edits=edits)
    told = "import ray; from curvetune.config.cell import CELL_VERSION; print(CELL_VERSION)"
    found = [bed.run(host, "python", "-c", told) for host in bed.hosts]
    assert found[0].code == 1
    assert "No module named 'curvetune'" in found[0].output
    assert int(found[1].output) == 1000 + int(found[2].output)
    assert bed.run("h2", "curvetune", "--help").code == 0


def test_a_reset_leaves_hosts_as_new(bed: Bed) -> None:
    process = bed.start("h1", "sleep", "600")
    bed.run("h1", "sh", "-c", f"touch /tmp/a /dev/shm/b c {SHARED}/d")
    bed.cut("h1")
    bed.reset()
    assert process.poll() is not None
    assert bed.run("h1", "sh", "-c", f"ls /tmp /dev/shm {SHARED} . | grep '^[a-d]$'").output == ""
    assert not list(bed.shared.iterdir())


def test_what_a_killed_run_left_is_removed_by_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    prefix = f"{beds.PREFIX}x"
    code = "import sys\nfrom bed import a_bed\nwith a_bed() as bed:\n bed.up(1)\n"
    code += " bed.start('h1', 'sleep', '600')\n print('up', flush=True)\n sys.stdin.read()"
    killed = subprocess.Popen(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parent,
        env={**os.environ, "CURVETUNE_BED": prefix},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == b"up\n"
        killed.send_signal(signal.SIGKILL)
    names = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    assert f"{prefix}0-h1" in names
    pids = ["ip", "netns", "pids", f"{prefix}0-h1"]
    left = subprocess.run(pids, capture_output=True, text=True, check=True).stdout.split()
    assert len(left) >= 2
    monkeypatch.setattr(beds, "PREFIX", prefix)
    with a_bed() as bed:
        assert bed.folder.name == f"{prefix}0"
        until(lambda: not any(is_alive(pid) for pid in left), 10, "its processes are gone")
    names = subprocess.run(["ip", "netns"], capture_output=True, text=True, check=True).stdout
    assert prefix not in names
    assert not [folder for folder in beds.BEDS.iterdir() if folder.name.startswith(prefix)]
