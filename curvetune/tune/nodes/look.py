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

# What curvetune's training core imports, at once or later (tests/tune/test_nodes.py).
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
        "storage": _storage_fault(question),
        "disk": _free_disk(),
        "unseen": [name for name in question["files"] if not os.access(name, os.R_OK)],
    }


def answer_name(node: str) -> str:
    """Return the name of the file with which a node shows that it writes to the storage."""
    return f"{node}.answer"


def _storage_fault(question: dict[str, Any]) -> str | None:
    """Look for what the driver wrote to the storage, and answer; say what failed."""
    if not question["folder"]:
        return None
    return _bucket_fault(question) if question["url"] else _folder_fault(question)


def _folder_fault(question: dict[str, Any]) -> str | None:
    folder = Path(question["folder"])
    try:
        if not (folder / question["nonce"]).exists():
            return "is not there, or is another folder of that name"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    answer = folder / answer_name(question["node"])
    try:
        answer.touch()
        if not question["driver_looks"]:
            answer.unlink()
    except OSError as error:
        return f"cannot be written ({error.strerror})"
    return None


def _bucket_fault(question: dict[str, Any]) -> str | None:
    try:
        from curvetune.store.files import open_storage
        from curvetune.store.flags import Flag

        folder = open_storage(question["url"]) / question["folder"]
        if not Flag(folder / question["nonce"]).is_up():
            return "is another bucket there: it lacks what the driver just wrote"
        answer = Flag(folder / answer_name(question["node"]))
        answer.put_up()
        if not question["driver_looks"]:
            answer.take_down()
    except Exception as error:  # of the object store's client, ours, or none of it is there
        return f"cannot be used ({str(error).splitlines()[0] if str(error) else error!r})"
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
