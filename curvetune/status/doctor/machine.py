"""This machine: its GPUs, the CPUs that may be used, and its shared memory."""

import os
import shutil
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from curvetune.planning.gpu_share import mps_runs
from curvetune.status.doctor.finding import GIB, Finding, Subject
from curvetune.status.doctor.inquiry import ask
from curvetune.system.machine import CGROUPS, GpuRow, nvidia_smi, own_cgroups, quotas, text_of

STORE_SHARE = 0.3  # of the memory, that Ray wants for its object store (ray_constants.py)
STORE_MOST = 10**10  # bytes of shared memory that satisfy it in any case (likewise)
SHM = Path("/dev/shm")
CPU_INFO = Path("/proc/cpuinfo")


def gpus(subject: Subject) -> Sequence[Finding]:
    """Can PyTorch use the GPUs of this machine, and can several cells share one?"""
    return gpu_findings(ask("torch_gpus"), nvidia_smi(), mps=mps_runs())


def gpu_findings(torch: Mapping[str, Any], driver: Sequence[GpuRow], *, mps: bool) -> list[Finding]:
    """Return what follows from what PyTorch and the driver say.

    Args:
        torch: the answer of inquiry.torch_gpus.
        mps: whether an MPS daemon runs.
    """
    if "error" in torch:
        advice = "install PyTorch again (pip install -U torch torchvision), see pytorch.org"
        return [Finding("gpus", "fail", f"PyTorch cannot be asked: {torch['error']}", advice)]
    if torch["devices"]:
        return [_usable(torch["devices"], driver), *_sharing(driver, mps=mps)]
    if not driver:
        return [Finding("gpus", "note", "none on this machine: cells train on the CPU")]
    found = f"the driver has {len(driver)}, but PyTorch can use none"
    if os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1"):
        return [Finding("gpus", "fail", found, "unset CUDA_VISIBLE_DEVICES, which hides them")]
    if torch["cuda"] is None:
        advice = "install a PyTorch that was built for CUDA (pytorch.org), or --gpus-per-trial 0"
    else:
        advice = (
            f"PyTorch was built for CUDA {torch['cuda']}, the driver is "
            f"{driver[0].get('driver_version')}: update the driver, or install a PyTorch for it; "
            f"--gpus-per-trial 0 trains on the CPU"
        )
    return [Finding("gpus", "fail", f"{found}. {torch['why']}".strip(" ."), advice)]


def _usable(devices: Sequence[Mapping[str, Any]], driver: Sequence[GpuRow]) -> Finding:
    names = {str(device["name"]) for device in devices}
    least = min(device["free"] for device in devices)
    found = f"{len(devices)} × {', '.join(sorted(names))}"
    if driver:
        found += f", driver {driver[0].get('driver_version')}"
    found += f"; {least / GIB:.1f} of {devices[0]['total'] / GIB:.1f} GiB free"
    busy = [k for k, device in enumerate(devices) if device["free"] < 0.5 * device["total"]]
    if busy:
        advice = "`nvidia-smi` shows by whom; Ray does not know of others and uses them all"
        found += f"; more than half in use on {', '.join(map(str, busy))}"
        return Finding("gpus", "warn", found, f"{advice}; CUDA_VISIBLE_DEVICES chooses some")
    return Finding("gpus", "ok", found)


def _sharing(driver: Sequence[GpuRow], *, mps: bool) -> list[Finding]:
    if mps:
        return [Finding("mps", "ok", "CUDA MPS runs: kernels of cells on one GPU run side by side")]
    found = "CUDA MPS does not run: cells that share a GPU take turns"
    start = (
        "to share GPUs (--gpus-per-trial below 1, or auto), start it: nvidia-cuda-mps-control -d"
    )
    if any("Exclusive" in row.get("compute_mode", "") for row in driver):
        found = "the GPUs take one process at a time, and CUDA MPS does not run"
        return [Finding("mps", "warn", found, f"{start}; or nvidia-smi --compute-mode=DEFAULT")]
    return [Finding("mps", "note", found, start)]


def cpus(subject: Subject) -> Sequence[Finding]:
    """Does Ray count more CPUs than this process may use?"""
    there = os.cpu_count() or 1
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else there
    return [cpu_finding(there, allowed, quotas(own_cgroups()), quotas([CGROUPS]))]


def cpu_finding(there: int, allowed: int, own: float | None, root: float | None) -> Finding:
    """Return what follows from the CPUs that there are.

    Args:
        allowed: those on which the scheduler puts this process.
        own: how many the cgroup of this process may use at once; None is all.
        root: likewise of the top of the tree, which is where Ray looks, and the only place.
    """
    usable = min(there, allowed, own or there)
    counted = min(there, int(root or there) or 1)
    if counted > max(1, int(usable)):
        few = max(1, int(usable))
        found = f"{usable:g} of {there} may be used, but Ray counts {counted}"
        advice = f"--max-concurrent {few}, or start Ray with as many: ray start --num-cpus {few}"
        return Finding("cpus", "warn", found, advice)
    if usable < there:
        return Finding("cpus", "ok", f"{usable:g} of {there} may be used, and Ray knows it")
    return Finding("cpus", "ok", f"{there}")


def sixteen_bits(subject: Subject) -> Sequence[Finding]:
    """Is a step faster in 16 bits on this processor? Only Linux tells."""
    words = set((text_of(CPU_INFO) or "").split())
    return [sixteen_bits_finding(words)] if "flags" in words else []


def sixteen_bits_finding(flags: Set[str]) -> Finding:
    """Return what follows from the instructions that a processor has, as Linux calls them."""
    if flags & {"avx512_bf16", "amx_bf16"}:
        found = "this CPU computes in bfloat16"
        advice = "--set precision=bfloat16-onednn: about half the time of a step, other numbers"
        return Finding("16 bits", "note", found, advice)
    found = "this CPU has neither AVX512-BF16 nor AMX: bfloat16 runs on it, and saves nothing"
    return Finding("16 bits", "ok", found)


def shared_memory(subject: Subject) -> Sequence[Finding]:
    """Has Ray's object store room in /dev/shm? Data and curves go through it."""
    if not SHM.is_dir():
        return [Finding("shared memory", "note", f"no {SHM} here: Ray uses files instead")]
    free = shutil.disk_usage(SHM).free
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limits = [text_of(CGROUPS / name) for name in ("memory.max", "memory/memory.limit_in_bytes")]
    memory = min([memory, *(int(limit) for limit in limits if limit and limit.isdigit())])
    return [shm_finding(free, memory)]


def shm_finding(free: int, memory: int) -> Finding:
    """Return what follows from the bytes that are free in /dev/shm, and those of the memory."""
    found = f"{free / GIB:.1f} GiB free in {SHM}"
    wanted = min(STORE_SHARE * memory, STORE_MOST)
    if free >= wanted:
        return Finding("shared memory", "ok", found)
    advice = f"give the container more, such as docker run --shm-size={wanted / GIB:.0f}g"
    slow = f"{found}; Ray wants {wanted / GIB:.1f} and will use files on a disk, which is slower"
    return Finding("shared memory", "warn", slow, advice)
