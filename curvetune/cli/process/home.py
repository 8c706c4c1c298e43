"""A home folder where there is none: a container that runs as a number without a name.

Ray cannot even be imported there (`Path("~/ray_results").expanduser()` in ray/train/constants.py).
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path


def ensure_home() -> None:
    """Set HOME to a folder that is removed at the end, if there is no home folder at all."""
    try:
        Path.home()
    except RuntimeError:
        folder = tempfile.mkdtemp(prefix="curvetune-home-")  # 0700
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        os.environ["HOME"] = folder
