"""Running something as another user, with real modes of real files; where this user is root."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

ALICE, BOB, LAB = 45_001, 45_002, 45_003  # users, and the group of both; none needs an entry

needs_root = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None,
    reason="only root can be another user, with setpriv of util-linux",
)


def as_user(
    user: int, code: str, *arguments: object, umask: int = 0o002, before: Sequence[str] = ()
) -> "subprocess.CompletedProcess[str]":
    """Run Python code as `user`, who is in LAB, and may read all files but write only their own.

    Args:
        before: a command that runs the rest of it.
    """
    command = [
        *before,
        *("setpriv", "--reuid", str(user), "--regid", str(user), "--groups", str(LAB)),
        # reads the interpreter and the packages, wherever they are
        *("--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"),
        *(sys.executable, "-c", f"import os, sys; os.umask({umask})\n{code}", *map(str, arguments)),
    ]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HOME": "/nonexistent"}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env=environment
    )


def shared(folder: Path) -> Path:
    """Make a folder that LAB shares: what is made in it has that group."""
    folder.mkdir()
    os.chown(folder, ALICE, LAB)
    folder.chmod(0o2775)
    return folder
