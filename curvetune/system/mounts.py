"""What kind of file system a path is on: `ext4`, `nfs4`, `fuse.sshfs`.

Linux only (/proc/self/mountinfo, proc(5)); elsewhere nobody knows.
"""

import re
from pathlib import Path

MOUNTINFO = Path("/proc/self/mountinfo")

# Several machines may have these mounted, as such or by FUSE, and SQLite's locks do not hold there:
# sqlite.org/howtocorrupt.html, 2.1.
# fmt: off
NETWORK = frozenset({
    "afs", "beegfs", "blobfuse", "blobfuse2", "ceph", "ceph-fuse", "cifs", "coda", "curlftpfs",
    "davfs", "davfs2", "gcsfuse", "geesefs", "glusterfs", "goofys", "gpfs", "juicefs", "lustre",
    "moosefs", "mount-s3", "ncpfs", "nfs", "nfs4", "orangefs", "panfs", "pvfs2", "rclone",
    "s3fs", "seaweedfs", "smb2", "smb3", "smbfs", "smbnetfs", "sshfs", "wekafs"
})
# fmt: on


def kind_of(path: Path, mountinfo: Path | None = None) -> str | None:
    """Return the kind of file system that `path`, which need not exist, is or would be on."""
    place = existing(path).resolve()
    found = None
    longest = -1
    for point, kind in _mounts(MOUNTINFO if mountinfo is None else mountinfo):
        # of two at the same point, the later one hides the other
        if place.is_relative_to(point) and len(point.parts) >= longest:
            found, longest = kind, len(point.parts)
    return found


def is_network(kind: str | None) -> bool:
    """Say whether SQLite must not be used on this kind of file system."""
    return kind is not None and kind.removeprefix("fuse.") in NETWORK


def existing(path: Path) -> Path:
    """Return `path`, or the nearest folder above it that exists."""
    path = path.expanduser().absolute()
    return next((place for place in (path, *path.parents) if place.exists()), Path("/"))


def _mounts(mountinfo: Path) -> list[tuple[Path, str]]:
    """Return each mount point and its kind, in the order in which they were mounted."""
    try:
        lines = mountinfo.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        before, _, after = line.partition(" - ")
        fields, kinds = before.split(" "), after.split(" ")
        if len(fields) > 4 and kinds[0]:
            found.append((Path(_unescaped(fields[4])), kinds[0]))
    return found


def _unescaped(text: str) -> str:
    r"""Return a mount point as it is: the kernel writes a space as \040."""
    return re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), text)
