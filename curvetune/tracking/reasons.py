"""What MLflow raises, in one line: why something failed, and whether a value was refused.

Imported after tracking/connection.py has set what MLflow reads as it is imported.
"""

import os

import requests
from mlflow.exceptions import MlflowException

from curvetune.system.redact import redact
from curvetune.tracking.base import DATABASE, is_remote

UNREACHABLE = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,  # cut in the middle of an answer
)
NOT_KNOWN = ("UNAUTHENTICATED", "CUSTOMER_UNAUTHORIZED")  # 401
NOT_ALLOWED = "PERMISSION_DENIED"  # 403
OTHER_NAME = "Invalid Host header"  # mlflow/server/security_utils.py
HOSTS = "--allowed-hosts, with its port"
USER, PASSWORD, TOKEN = (f"MLFLOW_TRACKING_{w}" for w in ("USERNAME", "PASSWORD", "TOKEN"))
# The second is that of a database which finds that another process was faster.
REFUSED = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")


def reason(error: Exception, uri: str) -> str:
    """Return in one line why MLflow at `uri` did not do what it was asked, and what to do."""
    if _is_unreachable(error):
        return "cannot be reached (is it running, and is the address right?)"
    words = first_line(error)
    if is_remote(uri):
        return _refused_access(error) or words
    if isinstance(error, OSError) and error.strerror:  # a file, not the database
        return f"{error.filename}: cannot be written ({error.strerror})"
    if "database is locked" in words:
        return f"{words} (another process writes to it)"
    return f"{words} ({DATABASE} holds copies only: delete it, and it is made anew)"


def first_line(error: Exception) -> str:
    """Return the first line of an error, without secrets."""
    return (redact(str(error)).strip().splitlines() or [type(error).__name__])[0][:300]


def is_refusal(error: MlflowException) -> bool:
    """Say whether it was the values that MLflow did not take."""
    return error.error_code in REFUSED


def _refused_access(error: Exception) -> str | None:
    """Return which user or token a server refuses, and what to do; None for any other error."""
    code = getattr(error, "error_code", None)
    if code in NOT_KNOWN:
        return f"it refuses {_who()} (401); {_what_to_set()}"
    if code != NOT_ALLOWED:
        return None
    answer = _answer(error)
    if OTHER_NAME in answer:
        return f"it does not go by this name (403: {answer}); name it in the server's {HOSTS}"
    return (
        f"{_who()} may not do this there (403: {answer}); whoever runs the server can give "
        f"the permission EDIT"
    )


def _who() -> str:
    """Return whom MLflow's client says that we are: a user goes before a token."""
    if os.environ.get(USER) and os.environ.get(PASSWORD):
        return f"the user {os.environ[USER]!a} with the password of {PASSWORD}"
    if os.environ.get(TOKEN):
        return f"the token of {TOKEN}"
    return "a user without name and password"


def _what_to_set() -> str:
    return f"set {USER} and {PASSWORD}, or {TOKEN}, and `curvetune sync` sends what it lacks"


def _answer(error: Exception) -> str:
    """Return what the server said, out of what MLflow's client says of it."""
    words = first_line(error)
    return words.partition("Response body: ")[2].strip("'\"") or words


def _is_unreachable(error: BaseException) -> bool:
    """Say whether no server answered: MLflow tells in the text only, or as what it handled."""
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, UNREACHABLE):
            return True
        chain = chain.__cause__ or chain.__context__
    return False
