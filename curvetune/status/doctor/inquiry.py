"""What only PyTorch, Ray or MLflow can tell, asked in a process of its own.

Their import takes seconds, and what they do in it may hang (a driver, a server) or crash. So the
process can be ended, and nothing of it stays behind.
"""

import contextlib
import importlib
import json
import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Mapping
from typing import Any

ANSWER_S = 45.0  # less than checks.LIMIT_S, so that the process is ended by us
# The same modules as here, wherever they were found (-P: a json.py of the user's in the working
# directory would be found before they are known); the arguments come by a pipe, since other
# users see the command lines of processes.
CODE = (
    "import json, sys; task = json.load(sys.stdin); sys.path[:] = task['path']; "
    "from curvetune.status.doctor.inquiry import answer; answer(task)"
)

Answer = dict[str, Any]


def ask(question: str, timeout_s: float = ANSWER_S, **arguments: Any) -> Answer:
    """Return what a function of `QUESTIONS` answers, or {"error": one line}."""
    task = {"question": question, "arguments": arguments, "path": sys.path}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-c", CODE],
            input=json.dumps(task),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return {"error": f"no answer within {timeout_s:g} s: something hangs, or a busy machine"}
    try:
        found: Answer = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        return {"error": f"the process ended with code {done.returncode}: {said}"}
    return found


def answer(task: Mapping[str, Any]) -> None:
    """Write the answer to a task as the last line of stdout."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            found = QUESTIONS[task["question"]](**task["arguments"])
    except Exception as error:
        lines = str(error).strip().splitlines() or [""]
        found = {"error": f"{type(error).__name__}: {lines[0]}"}
    sys.stdout.write(json.dumps(found) + "\n")


def torch_gpus() -> Answer:
    """Return which GPUs PyTorch can use, and what CUDA complained about."""
    import torch

    with warnings.catch_warnings(record=True) as complaints:
        warnings.simplefilter("always")
        usable = torch.cuda.is_available()
    devices = []
    for k in range(torch.cuda.device_count() if usable else 0):
        free, total = torch.cuda.mem_get_info(k)
        devices.append({"name": torch.cuda.get_device_name(k), "free": free, "total": total})
    complaint = str(complaints[-1].message) if complaints else ""
    return {"cuda": torch.version.cuda or torch.version.hip, "devices": devices, "why": complaint}


def ray_cluster(address: str | None) -> Answer:
    """Return how long Ray takes to import, and the nodes of the cluster at `address`, if given."""
    start = time.monotonic()
    import ray  # noqa: F401

    seconds = time.monotonic() - start
    if address is None:
        return {"seconds": seconds, "nodes": []}
    from curvetune.tune.cluster import connected, nodes

    with connected(address):
        return {"seconds": seconds, "nodes": [dict(node) for node in nodes()]}


def mlflow_server(uri: str) -> Answer:
    """Return the version of the MLflow server at `uri`, once it has answered a question."""
    importlib.import_module("curvetune.tracking.mlflow")  # first, since it sets short timeouts
    import requests
    from mlflow import MlflowClient

    MlflowClient(uri).search_experiments(max_results=1)
    version = None
    if uri.startswith("http"):
        page = requests.get(f"{uri.rstrip('/')}/version", timeout=5)
        version = page.text.strip() if page.ok else None
    return {"version": version}


def mlflow_database(uri: str) -> Answer:
    """Return the schema of the database at `uri`, and the one that this MLflow needs."""
    import sqlalchemy
    from mlflow.store.db import utils

    engine = sqlalchemy.create_engine(uri)
    with engine.connect() as connection:
        if not sqlalchemy.inspect(connection).has_table("alembic_version"):
            return {"schema": None, "needed": None}
        rows = connection.execute(sqlalchemy.text("SELECT version_num FROM alembic_version"))
        schema = rows.scalar()
    needed = getattr(utils, "_get_latest_schema_revision", lambda: schema)()
    return {"schema": schema, "needed": needed}


QUESTIONS: dict[str, Callable[..., Answer]] = {
    "torch_gpus": torch_gpus,
    "ray_cluster": ray_cluster,
    "mlflow_server": mlflow_server,
    "mlflow_database": mlflow_database,
}
