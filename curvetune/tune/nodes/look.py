"""What a node is asked before it gets trials, and how it answers.

It is sent to the node by value (asked.py), so it needs nothing there but Python: a node without
curvetune or PyTorch is to say so. A trial asks itself the same when its process is new, since nodes
come while a grid runs.
"""

import contextlib
import ctypes
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import socket
from pathlib import Path
from typing import Any

# What curvetune's training core imports (tests/tune/test_nodes.py).
MODULES = ("numpy", "PIL", "pyarrow", "pydantic", "ray", "safetensors", "torch", "yaml")


def look(question: dict[str, Any]) -> dict[str, Any]:
    """Return what there is on this node, and what is wrong with it, as plain values.

    Args:
        question: of `nodes.Question`, as a dict.
    """
    return {
        "host": socket.gethostname(),
        "python": platform.python_version(),
        "torch": _version("torch"),
        "missing": [name for name in MODULES if importlib.util.find_spec(name) is None],
        "source": _source(),
        "cuda": _cuda_fault() if question["gpus"] else None,
        "storage": _storage_fault(question["folder"], question["nonce"], question["node"]),
        "disk": _free_disk(),
        "unseen": [name for name in question["files"] if not os.access(name, os.R_OK)],
    }


def answer_file(folder: str, node: str) -> str:
    """Return the file with which a node shows that it writes to the storage."""
    return os.path.join(folder, f"{node}.answer")


def _storage_fault(folder: str, nonce: str, node: str) -> str | None:
    """Read what the driver wrote to a folder of the storage, and answer; say what failed."""
    if not folder:
        return None
    try:
        there = Path(folder, "question").read_text(encoding="utf-8")
    except FileNotFoundError:
        return "is not there, or is another folder of that name"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if there != nonce:
        return "holds an older state than the driver's"
    try:
        answer = answer_file(folder, node)
        with open(answer, "w", encoding="utf-8") as file:
            file.write(nonce)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return f"cannot be written ({error.strerror})"
    return None


def _cuda_fault() -> str | None:
    """Say why PyTorch cannot use this node's GPUs, as far as is known without importing it."""
    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        return None  # it is among the missing
    built = ""
    with contextlib.suppress(OSError):
        built = Path(spec.submodule_search_locations[0], "version.py").read_text(encoding="utf-8")
    toolkits = dict(re.findall(r"^(cuda|hip)\b[^=\n]*=\s*(.+?)\s*$", built, re.MULTILINE))
    if toolkits and all(value == "None" for value in toolkits.values()):
        return f"PyTorch {_version('torch')} there is built without CUDA"
    if toolkits.get("hip", "None") == "None":
        try:
            ctypes.CDLL("libcuda.so.1")
        except OSError:
            return "there is no NVIDIA driver (libcuda.so.1)"
    return None


def _free_disk() -> int:
    """Return the free bytes where Ray keeps what has no room in its shared memory."""
    import ray

    node = ray._private.worker._global_node
    folder = "/" if node is None else node.get_session_dir_path()
    return shutil.disk_usage(folder).free


def _source() -> str | None:
    """Return the digest of the sources of curvetune that a trial would run here."""
    try:
        from curvetune.system.source_code import this_code
    except ImportError:
        return None
    return this_code().source


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
