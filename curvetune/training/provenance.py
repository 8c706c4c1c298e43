"""What a result was made with: versions, device and commit. Recorded, never hashed."""

import platform
from collections.abc import Sequence
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


def after(devices: Sequence[str], device: str) -> list[str]:
    """Return the kinds of device of a run that goes on, now on `device`."""
    return [*devices] if [*devices[-1:]] == [device] else [*devices, device]


def moved(devices: Sequence[str]) -> dict[str, list[str]]:
    """Return what a result says of a run that went on on another kind of device; else nothing.

    Such a run is as good as any, but not bit for bit what one kind of device makes.
    """
    return {"devices": [*devices]} if len(devices) > 1 else {}


def device_name(device: torch.device) -> str:
    """Return the kind of device, such as `NVIDIA H200` or `cpu (x86_64)`."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()})"
