"""MLflow on a host of its own: basic auth and tokens, Postgres, artifacts through the server."""

import json
import shutil
import textwrap
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from bed import Bed
from commands import Process

PORT = 5000
ADMIN, TEAM, TOKEN = "admin-pw-4711-q", "team-pw-0815-z", "robot-token-2718-e"
DATABASE = "postgres-pw-1618-g"
SECRETS = (ADMIN, TEAM, TOKEN, DATABASE)

# A team with single sign-on has a function like this one: it also knows a token.
TOKENS = f"""
from flask import request
from mlflow.server.auth import authenticate_request_basic_auth
from werkzeug.datastructures import Authorization

def known():
    if request.headers.get("Authorization") == "Bearer {TOKEN}":
        return Authorization("basic", {{"username": "team", "password": "{TEAM}"}})
    return authenticate_request_basic_auth()
"""
CONFIG = """
[mlflow]
default_permission = READ
database_uri = postgresql+psycopg2://postgres@127.0.0.1/auth
admin_username = admin
authorization_function = tokens:known
# Else each request hashes the password anew: a tenth of a second, and 3 s on a busy machine.
auth_cache_ttl_seconds = 600
"""
MAKE_USER = """
import sys
from mlflow.server.auth.client import AuthServiceClient
AuthServiceClient(sys.argv[1]).create_user("team", sys.argv[2])
"""
# What a person sees who opens the pages: runs; "deep", also points, and the files of the grid, all
# through the server. Runs on any host.
LOOK = """
import json, sys
from mlflow import MlflowClient
client, deep = MlflowClient(sys.argv[1]), sys.argv[2] == "deep"
found = []
for experiment in client.search_experiments():
    for run in client.search_runs([experiment.experiment_id], max_results=1000):
        id = run.info.run_id
        row = {"tags": run.data.tags, "params": run.data.params, "address": run.info.artifact_uri}
        row["epochs"] = len(client.get_metric_history(id, "accuracy")) if deep else 0
        row["bytes"] = 0
        if deep and "curvetune.grid" in run.data.tags:
            for entry in client.list_artifacts(id):
                if not entry.is_dir:
                    path = client.download_artifacts(id, entry.path, "/tmp")
                    row["bytes"] += len(open(path, "rb").read())
        found.append(row)
print(json.dumps(found))
"""


def why_not() -> str | None:
    """Return why there can be no such server here; None if there can be one."""
    missing = [
        tool for tool in ("postgres", "initdb", "pg_ctl", "setpriv") if not shutil.which(tool)
    ]
    modules = {"psycopg2": "psycopg2-binary", "flask_wtf": "mlflow[auth]"}
    missing += [package for name, package in modules.items() if find_spec(name) is None]
    return f"not installed here: {', '.join(missing)}" if missing else None


@dataclass(frozen=True)
class Server:
    """A server that runs on `host`."""

    bed: Bed
    host: str
    process: Process

    @property
    def uri(self) -> str:
        """Its address, by the name of its host."""
        return f"http://{self.host}:{PORT}"

    def look(self, host: str, *, deep: bool = False) -> list[dict[str, Any]]:
        """Return all runs, as a member of the team sees them from `host`."""
        command = ["python", "-c", LOOK, self.uri, "deep" if deep else "flat"]
        code, output = self.bed.run(host, *command, env=as_team())
        assert code == 0, output
        return list(json.loads(output.splitlines()[-1]))


def as_team(password: str = TEAM) -> dict[str, str]:
    """Return the environment of a member of the team."""
    return {"MLFLOW_TRACKING_USERNAME": "team", "MLFLOW_TRACKING_PASSWORD": password}


def serve(bed: Bed, host: str) -> Server:
    """Start Postgres and MLflow on a host, and make the team's user; a minute at most."""
    _start_postgres(bed, host)
    home = bed.home(host)
    (home / "auth.ini").write_text(CONFIG)
    (home / "tokens.py").write_text(textwrap.dedent(TOKENS))
    process = bed.start(
        host,
        *("python", "-m", "mlflow", "server", "--app-name", "basic-auth"),
        *("--host", "0.0.0.0", "--port", str(PORT), "--workers", "1"),
        *("--backend-store-uri", "postgresql+psycopg2://postgres@127.0.0.1/mlflow"),
        *("--artifacts-destination", "/home/ct/artifacts"),
        *("--allowed-hosts", f"{host}:{PORT}"),
        env={
            "MLFLOW_AUTH_CONFIG_PATH": "/home/ct/auth.ini",
            "MLFLOW_AUTH_ADMIN_PASSWORD": ADMIN,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "cookie-key-3141-p",
            "PYTHONPATH": bed.python_path("/home/ct"),
        },
    )
    process.says("Application startup complete", 90)
    admin = {"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": ADMIN}
    made = ["python", "-c", MAKE_USER, f"http://{host}:{PORT}", TEAM]
    code, output = bed.run(host, *made, env=admin | {"PYTHONPATH": bed.python_path()})
    assert code == 0, output
    return Server(bed, host, process)


def _start_postgres(bed: Bed, host: str) -> None:
    """Make a cluster of databases and start it; by its own user, since it refuses root."""
    folder = "/tmp/pg"
    password = bed.tmp(host) / "password"
    password.write_text(DATABASE)
    password.chmod(0o644)
    as_postgres = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
    steps = [
        ["initdb", "-D", folder, "-A", "scram-sha-256", "--pwfile=/tmp/password", "--no-sync"],
        ["pg_ctl", "-D", folder, "-w", "-l", f"{folder}/log", "-o", f"-F -k {folder}", "start"],
    ]
    for step in steps:
        code, output = bed.run(host, *as_postgres, *step)
        assert code == 0, output
    password.unlink()
    known = bed.home(host) / ".pgpass"
    known.write_text(f"127.0.0.1:*:*:postgres:{DATABASE}\n")
    known.chmod(0o600)
    for name in ("mlflow", "auth"):
        code, output = bed.run(host, "createdb", "-h", "127.0.0.1", "-U", "postgres", name)
        assert code == 0, output
