"""What MLflow raises, in one line: why something failed, and whether a value was refused.

Imported after tracking/connection.py has set what MLflow reads as it is imported.
"""

import requests
from mlflow.exceptions import MlflowException

from curvetune.system.redact import redact
from curvetune.tracking.base import DATABASE, is_remote

UNREACHABLE = (
    requests.ConnectionError,
    requests.Timeout,
    requests.exceptions.ChunkedEncodingError,  # cut in the middle of an answer
)
# The second is that of a database which finds that another process was faster.
REFUSED = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST")


def reason(error: Exception, uri: str) -> str:
    """Return in one line why MLflow at `uri` did not do what it was asked, and what to do."""
    if _is_unreachable(error):
        return "cannot be reached (is it running, and is the address right?)"
    words = first_line(error)
    if is_remote(uri):
        return words
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


def _is_unreachable(error: BaseException) -> bool:
    """Say whether no server answered: MLflow tells in the text only, or as what it handled."""
    chain: BaseException | None = error
    while chain is not None:
        if isinstance(chain, UNREACHABLE):
            return True
        chain = chain.__cause__ or chain.__context__
    return False
