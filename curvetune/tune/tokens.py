"""The token that Ray asks of whoever wants to run programs in a cluster.

A Ray that is started here gets one of its own, in the environment of its processes alone. Ray would
write it to `~/.ray/auth_token`; and where that file is, the next `ray start --head` of this user
asks for it, so that no other node can join.
"""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from ray._raylet import AuthenticationTokenLoader, Config  # type: ignore[attr-defined]

TOKEN_FILE = Path(".ray", "auth_token")  # in the home folder
MODE, TOKEN, TOKEN_PATH = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"
HOW = (
    "set RAY_AUTH_MODE=token, and the cluster's token in RAY_AUTH_TOKEN or in ~/.ray/auth_token "
    "(a file, readable by you alone)"
)


@contextlib.contextmanager
def own_token() -> Iterator[None]:
    """Let a Ray that is started here ask for a token, of its own unless the user has set one.

    All is as before at the end, so that this process can reach another cluster then.
    """
    before = {name: os.environ.get(name) for name in (MODE, TOKEN)}
    os.environ.setdefault(MODE, "token")
    if not (os.environ.get(TOKEN) or os.environ.get(TOKEN_PATH)):
        os.environ[TOKEN] = secrets.token_hex(32)
    read_again()
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        read_again()


def read_again() -> None:
    """Let Ray's core read mode and token from the environment again, which it does only once."""
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


def trouble() -> str:
    """Return why Ray's core would end this process for the lack of a token; nothing if it will not.

    It aborts where the mode is `token` and there is none to read.
    """
    path = os.environ.get(TOKEN_PATH)
    if path and not os.environ.get(TOKEN) and not os.access(path, os.R_OK):
        return f"{TOKEN_PATH}={path} names no file to read"
    if os.environ.get(MODE, "").lower() != "token":
        return ""
    loader = AuthenticationTokenLoader.instance()
    return "" if loader.has_token(ignore_auth_mode=True) else f"{MODE}=token, but there is no token"


def protect_file() -> None:
    """Let nobody else read the token of this user's clusters: Ray 2.60 makes it world-readable."""
    with contextlib.suppress(OSError, RuntimeError):
        token = Path.home() / TOKEN_FILE
        if token.stat().st_mode & 0o077:
            token.chmod(0o600)
