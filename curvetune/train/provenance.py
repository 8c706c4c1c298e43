"""What a result was made with: versions, device and commit. Recorded, never hashed."""

import functools
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import torch

import curvetune

COMMIT = "CURVETUNE_COMMIT"  # says the commit where a copy of the code has no git to ask


def provenance(device: torch.device) -> dict[str, Any]:
    """Return what goes beside a result; nothing in it names a host, a user or a path."""
    return {
        "device": device_name(device),
        "versions": {
            "curvetune": curvetune.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "commit": os.environ.get(COMMIT) or _commit(),
    }


def device_name(device: torch.device) -> str:
    """Return the kind of device, such as `NVIDIA H200` or `cpu (x86_64)`."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()})"


@functools.cache
def _commit() -> str | None:
    """Return the commit of the source checkout, or None outside of one (an installed wheel)."""
    folder = Path(curvetune.__file__).parent.parent
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None
