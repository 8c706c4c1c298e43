"""The storage: its disk, its file system, and whether leases and publication work on it."""

import errno
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from curvetune.errors import BackendError
from curvetune.status.doctor.finding import GIB, Finding, Subject
from curvetune.system.mounts import existing, is_network, kind_of
from curvetune.tune.ray_folder import SHORT, choose_folder

FULL = 0.95  # from which share on Ray makes no new objects (its file system monitor)
LITTLE = 5 * GIB  # a probe of CIFAR takes 60 MB of curves, a cell 5 MB
LEAST = GIB // 4
FEW_INODES = 10_000
SKEW_S = 30.0  # `curvetune status` takes a cell without news for 300 s to be stopped


def disk(subject: Subject) -> Sequence[Finding]:
    """Is there room for results, and for what Ray keeps in the folder of temporary files?"""
    place = existing(subject.storage)
    counts = os.statvfs(place)
    inodes = counts.f_favail if counts.f_files else None  # some file systems make them as needed
    first = disk_finding(shutil.disk_usage(place).free, inodes)
    try:
        chosen = choose_folder()
    except BackendError:  # the next check tells
        return [first]
    folder = chosen.parent or chosen.folder.parent
    used = shutil.disk_usage(existing(folder))
    return [first, *temporary_findings(str(folder), used.used / (used.used + used.free))]


def ray_folder(subject: Subject) -> Sequence[Finding]:
    """Can a Ray that is started here make its sockets and logs?"""
    return [folder_finding(subject.address, os.environ)]


def folder_finding(
    address: str | None, environment: Mapping[str, str], short: Sequence[str] = SHORT
) -> Finding:
    """Return what follows from where Ray is told to keep its files."""
    name = "ray folder"
    if address is not None:
        return Finding(name, "ok", "the cluster has its own")
    try:
        chosen = choose_folder(environment, short)
    except BackendError as error:  # what a grid says
        return Finding(name, "fail", str(error), "export RAY_TMPDIR=/a/short/folder")
    if chosen.parent is None:
        return Finding(name, "ok", str(chosen.folder))
    return Finding(name, "note", f"{chosen.trouble}: a grid makes its own in {chosen.parent}")


def disk_finding(free: int, inodes: int | None) -> Finding:
    """Return what follows from the bytes that are free, and from how many more files fit."""
    found = f"{free / GIB:.1f} GiB free for the storage"
    advice = "make room, or give another folder with --storage; `curvetune gc` lists what can go"
    if free < LEAST:
        return Finding("disk", "fail", found, advice)
    if free < LITTLE:
        return Finding("disk", "warn", found, advice)
    if inodes is not None and inodes < FEW_INODES:
        return Finding("disk", "warn", f"{found}, but for {inodes} more files only", advice)
    return Finding("disk", "ok", found)


def temporary_findings(folder: str, share: float) -> list[Finding]:
    """Return what follows from the share of the disk of temporary files that is in use."""
    if share < FULL:
        return []
    found = f"the disk of {folder} is {100 * share:.0f} % full"
    advice = "make room: Ray stores nothing there above 95 %; RAY_TMPDIR names another folder"
    return [Finding("disk", "warn", found, advice)]


def file_system(subject: Subject) -> Sequence[Finding]:
    """Which kind is it? On a network, several machines can share results, but not SQLite."""
    return [kind_finding(kind_of(subject.storage))]


def kind_finding(kind: str | None) -> Finding:
    """Return what follows from the kind of file system."""
    if kind is None:
        advice = "if it is a network file system, give the tracker a server with --tracking-uri"
        return Finding("file system", "note", "nobody knows its kind on this system", advice)
    if is_network(kind):
        found = f"{kind}: several machines can work on one grid; SQLite does not work on it"
        advice = "track with a server or with a database on a local disk (see `tracker`)"
        return Finding("file system", "note", found, advice)
    if kind == "9p" or kind.startswith("fuse."):
        found = f"{kind}: curvetune does not know whether locks hold on it"
        advice = "if it is a network file system, track with a server (--tracking-uri)"
        return Finding("file system", "warn", found, advice)
    if kind in ("tmpfs", "ramfs"):
        advice = "give a folder on a disk with --storage, unless results may be lost"
        return Finding("file system", "warn", f"{kind}: gone with the next boot", advice)
    return Finding("file system", "ok", kind)


def renames(subject: Subject) -> Sequence[Finding]:
    """Can files be published once, and leases be taken by one process alone?"""
    if re.match(r"[a-z][a-z0-9+.-]+:/", str(subject.storage)):  # a Path keeps one of s3://
        found = f"--storage {subject.storage}: only folders are supported"
        return [Finding("renames", "fail", found, "mount it and give a path")]
    place = existing(subject.storage)
    try:
        with tempfile.TemporaryDirectory(dir=place, prefix=".curvetune-doctor-") as folder:
            problem = exclusive(Path(folder))
    except OSError as error:
        found = f"{place} cannot be written ({error.strerror})"
        advice = "give a folder that can be, with --storage or CURVETUNE_STORAGE"
        return [Finding("renames", "fail", found, advice)]
    return [problem or Finding("renames", "ok", "renames, exclusive creation and hard links work")]


def exclusive(folder: Path) -> Finding | None:
    """Return what is wrong with what leases and publication do, tried in `folder`."""
    advice = "put the storage on a local disk, NFS 4 or another file system for Unix"
    one, other = folder / "one", folder / "other"
    one.write_text("old")
    other.write_text("new")
    with other.open() as file:
        os.fsync(file.fileno())
    if _succeeds(lambda: one.open("x").close(), errno.EEXIST):
        return Finding("renames", "fail", "a file that exists can be made again", advice)
    try:
        if _succeeds(lambda: os.link(other, one), errno.EEXIST):
            return Finding("renames", "fail", "a hard link replaces a file that exists", advice)
        os.link(other, folder / "linked")
    except OSError as error:
        found = f"no hard links ({error.strerror}): leases alone keep two commands apart"
        return Finding("renames", "warn", found, "run one command at a time on this storage")
    os.replace(other, one)
    if one.read_text() != "new" or other.exists():
        return Finding("renames", "fail", "a rename does not replace the file", advice)
    return None


def clock(subject: Subject) -> Sequence[Finding]:
    """Does the storage's clock agree with this machine's?"""
    try:
        with tempfile.NamedTemporaryFile(dir=existing(subject.storage)) as file:
            before = time.time()
            os.utime(file.fileno())
            skew = os.fstat(file.fileno()).st_mtime - before
    except OSError:
        return [Finding("clock", "note", "cannot be compared: the storage cannot be written")]
    return [clock_finding(skew)]


def clock_finding(skew: float) -> Finding:
    """Return what follows from how many seconds the storage's clock is ahead."""
    if abs(skew) < SKEW_S:
        return Finding("clock", "ok", f"the storage's differs by {abs(skew):.1f} s")
    found = f"the storage's is {abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}"
    advice = "let both machines follow one time server (NTP): `status` would misjudge what runs"
    return Finding("clock", "warn", found, advice)


def _succeeds(act: Callable[[], object], refusal: int) -> bool:
    """Say whether `act` does what the file system must refuse with the error `refusal`."""
    try:
        act()
    except OSError as error:
        if error.errno == refusal:
            return False
        raise
    return True
