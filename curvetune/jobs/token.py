"""The token of a cluster that this user has, in the places where Ray looks for it."""

import os
from pathlib import Path

from curvetune.errors import BackendError, printable

TOKEN, TOKEN_PATH = "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
TOKEN_FILE = "~/.ray/auth_token"


def find_token(address: str) -> tuple[str, str]:
    """Return this user's token and where it is from, in Ray's own order.

    Raises:
        BackendError: there is none, or it cannot be read.
    """
    if token := os.environ.get(TOKEN, "").strip():
        return _checked(token, TOKEN), TOKEN
    named = os.environ.get(TOKEN_PATH)
    source = f"{TOKEN_PATH} ({printable(named)})" if named else TOKEN_FILE
    try:
        token = Path(named or TOKEN_FILE).expanduser().read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError, RuntimeError) as error:
        if named:
            reason = getattr(error, "strerror", None) or "no text"
            raise BackendError(
                f"{source}: cannot be read ({reason}); give a file with the token"
            ) from None
        token = ""
    if not token:
        raise BackendError(
            f"--address {address}: the cluster asks for a token, and there is none here; give the "
            f"one that its head has as {TOKEN}, or its file as {TOKEN_PATH}"
        )
    return _checked(token, source), source


def _checked(token: str, source: str) -> str:
    if token.isascii() and token.isprintable() and " " not in token:
        return token
    raise BackendError(f"{source}: is no token: it has spaces or other signs in it")
