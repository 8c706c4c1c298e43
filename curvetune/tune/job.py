"""What a driver's job gives to its workers: where they look for modules, and the code they run.

On a cluster the driver's own curvetune travels to every node, as 2 MB that each node unpacks once.
So a node with an older commit, or with none, cannot make a part of a table, and a change of the
code needs no installation on the nodes.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

from ray.job_config import JobConfig

import curvetune
from curvetune.system.source_code import COMMIT, this_code

FAKE_GPUS = "CURVETUNE_FAKE_GPUS"  # says that GPUs are only numbers of Ray's; for tests
UV_RUN = "RAY_ENABLE_UV_RUN_RUNTIME_ENV"
JOB_ENVIRONMENT = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # set where this process is the driver of a Ray job
# With these, Ray gives the workers an environment of its own, and must upload that.
OWN_ENVIRONMENT = (UV_RUN, "RAY_RUNTIME_ENV_HOOK", JOB_ENVIRONMENT)


class _Travelling(JobConfig):
    """A job whose code travels; neither the working directory nor the script's folder is looked in.

    Ray puts both before all else on the path of its workers, unless the job has a working
    directory of its own (ray/_private/worker.py, `connect`). On another host they are other
    folders of that name.
    """

    def _runtime_env_has_working_dir(self) -> bool:
        return True


def how_to_connect(address: str | None) -> dict[str, Any]:
    """Return what `ray.init` is told of the job, at a cluster's address or in a Ray of its own."""
    if address is None:
        return {"job_config": _at_home()}
    return {
        "job_config": _Travelling(),
        "runtime_env": None if _came_with_code() else code_that_travels(),
    }


def code_that_travels() -> dict[str, Any]:
    """Return the runtime environment with which every worker has this process's curvetune."""
    commit = this_code().commit  # the copy has no git to ask
    told = {COMMIT: commit, FAKE_GPUS: os.environ.get(FAKE_GPUS)}
    return {
        "py_modules": [str(Path(curvetune.__file__).parent)],
        "excludes": ["**/__pycache__"],
        "env_vars": {name: value for name, value in told.items() if value is not None},
    }


def _came_with_code() -> bool:
    """Say whether this is the driver of a Ray job that brought its own modules along.

    Ray refuses to have them from both.
    """
    config = json.loads(os.environ.get(JOB_ENVIRONMENT, "{}"))  # as Ray itself reads it
    return bool((config.get("runtime_env") or {}).get("py_modules"))


def _at_home() -> JobConfig:
    """Return a job whose workers look for modules where the driver does.

    Ray puts the working directory before all else on the path of its workers, where the driver of
    a console script does not have it: a `profile.py` there would take the place of Python's own.
    `_client_job` is the one way to leave it out (ray/_private/worker.py, `connect`), and has no
    other effect without a runtime environment. The folder of a script is still handed on.
    """
    if any(os.environ.get(name, "0") != "0" for name in OWN_ENVIRONMENT):
        return JobConfig()
    here = os.path.realpath(os.curdir)
    is_seen = here in {os.path.realpath(entry or os.curdir) for entry in sys.path}
    return JobConfig(_client_job=True, _py_driver_sys_path=[here] if is_seen else [])
