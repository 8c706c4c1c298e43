"""Kinds of file systems, and that SQLite is refused on those of a network."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from curvetune.errors import ConfigError
from curvetune.status.doctor import Subject
from curvetune.status.doctor.backends import tracker
from curvetune.system.mounts import is_network, kind_of
from curvetune.tracking.base import resolve_uri

MOUNTS = """\
22 1 254:0 / / rw,relatime - ext4 /dev/vda rw
30 22 0:25 / /shared rw,relatime shared:1 - nfs4 server:/export rw
31 30 0:26 / /shared/local rw,relatime - xfs /dev/vdb rw
32 22 0:27 / /with\\040space rw - fuse.sshfs me@host:/x rw
33 22 0:28 / /twice rw - ext4 /dev/vdc rw
34 33 0:29 / /twice rw master:3 propagate_from:1 - lustre 1@tcp:/fs rw
"""


@pytest.fixture
def mounts(tmp_path: Path) -> Path:
    path = tmp_path / "mountinfo"
    path.write_text(MOUNTS)
    return path


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/home/none", "ext4"),
        ("/shared/a/b", "nfs4"),
        ("/shared-not", "ext4"),
        ("/shared/local/x", "xfs"),
        ("/with space/x", "fuse.sshfs"),
        ("/twice", "lustre"),
    ],
)
def test_a_path_is_on_what_was_mounted_nearest_and_last(
    path: str, kind: str, mounts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("curvetune.system.mounts.existing", Path)  # no such folders here
    assert kind_of(Path(path), mounts) == kind


@pytest.mark.skipif(shutil.which("findmnt") is None, reason="needs util-linux's findmnt")
def test_the_kind_is_what_the_kernel_says_of_this_machine(tmp_path: Path) -> None:
    answer = subprocess.run(
        ["findmnt", "-no", "FSTYPE", "-T", str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert kind_of(tmp_path / "not" / "there") == answer.stdout.split()[-1]
    assert kind_of(Path("/proc/self")) == "proc"
    assert kind_of(tmp_path, tmp_path / "no mountinfo") is None


def test_what_several_machines_share_is_a_network() -> None:
    for kind in ("nfs", "nfs4", "cifs", "smb3", "lustre", "gpfs", "fuse.sshfs", "fuse.glusterfs"):
        assert is_network(kind)
    for kind in ("ext4", "xfs", "btrfs", "zfs", "overlay", "tmpfs", "fuseblk", "9p", None):
        assert not is_network(kind)


@pytest.fixture
def on_nfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the kernel is made to say is on NFS."""
    folder = tmp_path / "results"
    folder.mkdir()
    path = tmp_path / "mountinfo"
    path.write_text(f"1 0 0:1 / / rw - ext4 a rw\n2 1 0:2 / {folder} rw - nfs4 s:/x rw\n")
    monkeypatch.setattr("curvetune.system.mounts.MOUNTINFO", path)
    return folder


def test_sqlite_on_a_network_file_system_is_refused_and_a_way_out_is_named(on_nfs: Path) -> None:
    for uri in (None, f"sqlite:///{on_nfs}/my.db", f"sqlite+pysqlite:///{on_nfs}/my.db?timeout=5"):
        with pytest.raises(ConfigError, match=r"SQLite.*\(nfs4\).*--tracking-uri") as caught:
            resolve_uri(on_nfs, uri)
        (finding,) = tracker(Subject(on_nfs, tracking_uri=uri))
        assert (finding.status, finding.found) == ("fail", str(caught.value))
    local = f"sqlite:///{on_nfs.parent}/my.db"
    assert resolve_uri(on_nfs, local) == local
    assert resolve_uri(on_nfs, "http://host:5000") == "http://host:5000"


def test_a_grid_refuses_it_before_ray_starts(on_nfs: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from curvetune.system import mounts; "
        "mounts.MOUNTINFO = Path(sys.argv.pop(1))\n"
        "from curvetune.cli import main\n"
        "try: main()\n"
        "finally: print('loaded:', *{'ray', 'torch', 'mlflow'} & set(sys.modules))"
    )
    command = [sys.executable, "-c", code, str(on_nfs.parent / "mountinfo")]
    done = subprocess.run(
        [*command, "grid", "digits", "--storage", str(on_nfs)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "loaded:\n")
    assert "a network file system (nfs4)" in done.stderr
    assert list(on_nfs.iterdir()) == []
