"""What a result was made with: versions, device and commit. Recorded, never hashed."""

import platform
from typing import Any

import numpy as np
import torch

import curvetune
from curvetune.system.source_code import this_code


def provenance(device: torch.device) -> dict[str, Any]:
    """Return what goes beside a result; nothing in it names a host, a user or a path."""
    code = this_code()
    return {
        "device": device_name(device),
        "versions": {
            "curvetune": curvetune.__version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
        },
        "commit": code.commit,
        "source": code.source,
    }


def device_name(device: torch.device) -> str:
    """Return the kind of device, such as `NVIDIA H200` or `cpu (x86_64)`."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()})"
