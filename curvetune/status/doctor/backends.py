"""Ray and MLflow: whether they can be imported and reached, and who else could reach them."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from curvetune.errors import ConfigError
from curvetune.status.doctor.finding import Finding, Subject
from curvetune.status.doctor.inquiry import Answer, ask
from curvetune.status.doctor.software import newer, version_of
from curvetune.system.redact import MASK, shown
from curvetune.tracking.base import DATABASE, database_file, resolve_uri

TOKEN_FILE = Path(".ray", "auth_token")  # in the home folder
# Since when Ray turns token authentication on by itself where it starts a cluster here
# (docs.ray.io/en/latest/ray-security/token-auth.html).
ON_BY_ITSELF = "2.59"
AUTHENTICATE = (
    "on every node before `ray start`, and here: export RAY_AUTH_MODE=token, with one token for "
    "all (`ray get-auth-token --generate` writes ~/.ray/auth_token)"
)
LEFT = (
    "keep it for a cluster with that token: its nodes and drivers need the file and "
    "RAY_AUTH_MODE=token. If it was left by an earlier local grid, remove it"
)
ENDS = "whoever reaches its ports can run programs as you"


def ray(subject: Subject) -> Sequence[Finding]:
    """Can Ray be imported and, with --address, reached?"""
    return [ray_finding(ask("ray_cluster", address=subject.address), subject.address)]


def ray_finding(found: Answer, address: str | None) -> Finding:
    """Return what follows from the answer of inquiry.ray_cluster."""
    version = version_of("ray") or "of no known version"
    if "error" in found:
        if address is not None:
            advice = "the error says what is missing; a grid with this address ends with the same"
            return Finding("ray", "fail", f"{version}; {address}: {found['error']}", advice)
        advice = "install it again: pip install -U 'ray[data,tune]'"
        return Finding("ray", "fail", f"{version} cannot be imported: {found['error']}", advice)
    if address is None:
        return Finding("ray", "ok", f"{version}, imported in {found['seconds']:.1f} s")
    nodes = found["nodes"]
    cpus, gpus = (sum(node.get(key, 0.0) for node in nodes) for key in ("CPU", "GPU"))
    there = f"{len(nodes)} node{'s' * (len(nodes) != 1)}, {cpus:g} CPUs, {gpus:g} GPUs"
    return Finding("ray", "ok", f"{version}; {address}: {there}")


def ray_authentication(subject: Subject) -> Sequence[Finding]:
    """Could others run programs in the cluster?"""
    version = version_of("ray")
    if version is None:
        return [Finding("ray authentication", "note", "Ray is not installed")]
    return [
        authentication_finding(
            subject.address, newer(version, ON_BY_ITSELF), Path.home() / TOKEN_FILE, os.environ
        )
    ]


def authentication_finding(
    address: str | None, on_by_itself: bool, token: Path, environment: Mapping[str, str]
) -> Finding:
    """Return what follows from how Ray is set up.

    Args:
        on_by_itself: whether a cluster that is started here asks for a token unless told otherwise.
        token: the file that Ray keeps it in.
    """
    name, mode = "ray authentication", environment.get("RAY_AUTH_MODE", "").lower()
    path = environment.get("RAY_AUTH_TOKEN_PATH")
    if path and not os.access(path, os.R_OK):
        advice = "name a file with the token, or unset it: Ray ends where it cannot read it"
        return Finding(name, "fail", "RAY_AUTH_TOKEN_PATH names no file to read", advice)
    is_there = os.path.exists(token)  # Path.exists raises in a home that is closed to this user
    has_token = bool(environment.get("RAY_AUTH_TOKEN")) or bool(path) or is_there
    if mode == "token" and address is not None and not has_token:
        return Finding(name, "fail", "RAY_AUTH_MODE=token, but there is no token", AUTHENTICATE)
    # Ray finds out by itself only for `auto`; to an address it sends none without the mode
    is_sent = mode == "token" or (not mode and has_token and address == "auto")
    if address is not None and not is_sent:
        return Finding(name, "warn", f"off: if the cluster asks for no token, {ENDS}", AUTHENTICATE)
    if address is None and (mode == "disabled" or not (mode or has_token or on_by_itself)):
        advice = "export RAY_AUTH_MODE=token"
        return Finding(name, "warn", f"off: while a grid runs, {ENDS}", advice)
    if is_there and token.stat().st_mode & 0o077:
        found = "on, but other users of this machine can read the token"
        return Finding(name, "warn", found, f"chmod 600 ~/{TOKEN_FILE} (a grid does so itself)")
    if is_there and address is None:
        found = f"on; ~/{TOKEN_FILE} is there, so the next `ray start --head` asks for it as well"
        return Finding(name, "note", found, LEFT)
    return Finding(name, "ok", "on: a token is asked for")


def tracker(subject: Subject) -> Sequence[Finding]:
    """Can MLflow be reached, and does it fit the one that is installed here?"""
    try:
        uri = resolve_uri(subject.storage, subject.tracking_uri)
    except ConfigError as error:
        return [Finding("tracker", "fail", str(error), "see there: a grid refuses it as well")]
    file = database_file(uri)
    if file is not None and not (file.exists() and file.stat().st_size):
        return [Finding("tracker", "ok", f"{DATABASE} in the storage will be made by a grid")]
    if uri.startswith(("http://", "https://", "databricks")):
        first = server_finding(shown(uri), ask("mlflow_server", uri=uri), version_of("mlflow"))
    else:
        first = database_finding(shown(uri), ask("mlflow_database", uri=uri))
    return [first, *_password(subject.tracking_uri)]


def server_finding(where: str, found: Answer, version: str | None) -> Finding:
    """Return what follows from the answer of inquiry.mlflow_server."""
    if "error" in found:
        advice = (
            "is it running, is the address right, and are MLFLOW_TRACKING_USERNAME and _PASSWORD "
            "set if it asks? A grid runs all the same, and the tracker is brought up to date later"
        )
        return Finding("tracker", "fail", f"{where}: {found['error']}", advice)
    theirs = found["version"]
    if theirs and version and theirs.split(".")[0] != version.split(".")[0]:
        other = f"{where}: MLflow {theirs}, here is {version}"
        return Finding("tracker", "warn", other, "use the same major version on both sides")
    return Finding("tracker", "ok", f"{where}: MLflow {theirs or 'of an unknown version'} answers")


def database_finding(where: str, found: Answer) -> Finding:
    """Return what follows from the answer of inquiry.mlflow_database."""
    if "error" in found:
        advice = (
            f"a {DATABASE} of the storage holds copies only: delete it, and it is made anew; for "
            f"another database, is its server running, and is the address right?"
        )
        return Finding("tracker", "fail", f"{where}: {found['error']}", advice)
    if found["schema"] != found["needed"]:
        advice = (
            f"a {DATABASE} of the storage holds copies only: delete it, and it is made anew; for "
            f"another database, mlflow db upgrade"
        )
        return Finding("tracker", "fail", f"{where}: it was made by another MLflow", advice)
    return Finding("tracker", "ok", f"{where} can be read")


def _password(given: str | None) -> list[Finding]:
    """Say that a password on the command line is seen by others."""
    if given is None or MASK not in shown(given) or given == os.environ.get("MLFLOW_TRACKING_URI"):
        return []
    found = "the address holds a secret, and `ps` and Ray's dashboard show command lines"
    advice = "set MLFLOW_TRACKING_URI, or MLFLOW_TRACKING_USERNAME and _PASSWORD, instead"
    return [Finding("tracker", "note", found, advice)]
