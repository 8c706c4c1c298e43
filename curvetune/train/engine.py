"""What makes a process fast without changing a number."""

import ctypes
import platform

import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc's malloc.h
ONE_GIB = 1 << 30


def prepare(device: torch.device) -> None:
    """Set the process up for training on `device`; safe to call again.

    On a CPU, glibc gives every freed activation back to the kernel, which must clear the pages
    again for the next one: half of an evaluation's time and a tenth of a training step's
    (docs/performance.md). Freed memory is kept instead, up to the process's peak.
    """
    if device.type == "cpu" and platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, ONE_GIB)
        libc.mallopt(M_TRIM_THRESHOLD, 2 * ONE_GIB - 1)
