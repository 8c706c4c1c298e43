"""The address of an SQLite database, for any path that it may have.

SQLAlchemy takes a `?` for the end of the path, and since 2.1 `%41` for an A. MLflow makes the
folder of a database as well, and reads the address without those rules: it would make another
folder beside. It does so for `sqlite:///` alone, not where the address names the driver too.
"""

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from curvetune.errors import ConfigError

PLAIN = "sqlite:///"
WITH_DRIVER = "sqlite+pysqlite:///"
MEANS_SOMETHING = re.compile("[%?]")


def address_of(database: Path | str) -> str:
    """Return the address that MLflow and SQLAlchemy both read as the path of `database`.

    Raises:
        ConfigError: there is none.
    """
    path = str(database)
    _check_text(path)
    special = MEANS_SOMETHING.findall(path)
    if not special:
        return PLAIN + path
    escaped = path.replace("%", "%25").replace("?", "%3F")
    for address in (WITH_DRIVER + escaped, WITH_DRIVER + path):  # SQLAlchemy 2.1, and before it
        if _read_by_sqlalchemy(address) == path:
            return address
    raise _cannot_be(path, " and ".join(sorted(set(special))))


def path_in(address: str) -> str | None:
    """Return the path in the address of an SQLite database; None in any other, or in memory."""
    scheme, _, rest = address.partition("://")
    if scheme.partition("+")[0] != "sqlite":
        return None
    path = rest.partition("?")[0].removeprefix("/")
    if "%" in path:
        path = _read_by_sqlalchemy(address) or ""
    return None if path in ("", ":memory:") else path


def folder_in(address: str) -> Path | None:
    """Return the folder that a `file:` address names; None for any other."""
    parts = urlsplit(address)
    is_here = parts.scheme == "file" and not parts.netloc and parts.path.startswith("/")
    return Path(unquote(parts.path)) if is_here else None


def check_options(address: str) -> None:
    """Refuse what SQLAlchemy would take for options of an SQLite database.

    Raises:
        ConfigError: behind the `?` is no `name=value`, but the rest of a path.
    """
    path, mark, options = address.partition("?")
    if mark and path_in(path) and not all("=" in part for part in options.split("&")):
        raise ConfigError(
            f"--tracking-uri {path}?…: what follows a `?` are options (name=value); write %3F for "
            f"a `?` in a path, and %25 for a `%`"
        )


def _check_text(path: str) -> None:
    try:
        path.encode()
    except UnicodeEncodeError as error:
        byte = os.fsencode(path[error.start]).hex()
        raise _cannot_be(path, f"the byte 0x{byte}, which is no text in UTF-8,") from None


def _read_by_sqlalchemy(address: str) -> str | None:
    """Return the path that the installed SQLAlchemy reads in an address."""
    from sqlalchemy.engine import make_url  # inside: 0.2 s, and few paths need it

    return make_url(address).database


def _cannot_be(path: str, what: str) -> ConfigError:
    return ConfigError(
        f"{path!a}: MLflow cannot use a database in a folder with {what} in its path; give "
        f"another folder with --storage, or another place for the tracker with --tracking-uri "
        f"(http://host:5000 or sqlite:////path/of/mlflow.db)"
    )
