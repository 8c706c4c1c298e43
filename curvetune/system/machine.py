"""What this machine has, told without PyTorch: GPUs, and the CPUs that a process may use."""

import os
import shutil
import subprocess
from collections.abc import Iterable, Mapping
from pathlib import Path

QUERY = ("name", "driver_version", "memory.total", "compute_mode")
DRIVER = Path("/proc/driver/nvidia/gpus")  # a folder for each GPU, with a line "Model: ..."
CGROUPS = Path("/sys/fs/cgroup")

GpuRow = Mapping[str, str]


def gpu_names(driver: Path = DRIVER, environment: Mapping[str, str] = os.environ) -> list[str]:
    """Return the kind of each GPU that may be used here, as PyTorch calls it, without PyTorch."""
    files = sorted(driver.glob("*/information"))
    names = [_model_of(file) for file in files] or [row["name"] for row in nvidia_smi()]
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return names
    chosen = [part for part in visible.split(",") if part.strip() not in ("", "-1")]
    return names[: len(chosen)]


def nvidia_smi() -> list[GpuRow]:
    """Return what the driver says of each GPU; nothing where there is no driver."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    command = [program, f"--query-gpu={','.join(QUERY)}", "--format=csv,noheader,nounits"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    lines = done.stdout.splitlines() if done.returncode == 0 else []
    return [dict(zip(QUERY, map(str.strip, line.split(",")), strict=False)) for line in lines]


def ray_cpus() -> int:
    """Return how many CPUs Ray will count on this machine."""
    there = os.cpu_count() or 1
    return min(there, int(quotas([CGROUPS]) or there) or 1)


def own_cgroups(root: Path = CGROUPS, cgroup: Path = Path("/proc/self/cgroup")) -> list[Path]:
    """Return the folders of the cgroups (of version 2, or of `cpu`) that hold this process."""
    try:
        lines = cgroup.read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = [root]
    for line in lines:
        _, controllers, path = line.split(":", 2)
        top = root if not controllers else root / "cpu" if "cpu" in controllers.split(",") else None
        if top is not None:
            inner = top / path.lstrip("/")
            found += [inner, *(p for p in inner.parents if p.is_relative_to(top))]
    return found


def quotas(folders: Iterable[Path]) -> float | None:
    """Return the smallest number of CPUs that one of these cgroups is held to; None without any."""
    found = [quota for folder in folders for quota in _quota(folder)]
    return min(found, default=None)


def _quota(folder: Path) -> list[float]:
    texts = []
    if (text := text_of(folder / "cpu.max")) is not None:
        texts.append(text.split())
    for inner in (folder, folder / "cpu"):
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us")
        texts.append([text_of(inner / name) or "" for name in names])
    pairs = [pair for pair in texts if len(pair) == 2 and all(part.isdigit() for part in pair)]
    return [int(quota) / int(period) for quota, period in pairs if int(period)]


def _model_of(information: Path) -> str:
    """Return what the driver calls a GPU."""
    lines = information.read_text(encoding="utf-8", errors="replace").splitlines()
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("Model:"))
    return next(models, "unknown GPU")


def text_of(path: Path) -> str | None:
    """Return what a small file says; None if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError:
        return None
