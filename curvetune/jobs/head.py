"""The head of a cluster by the address of its dashboard: who answers, and to which token.

Ray's own client has no time limits, takes RAY_ADDRESS for the address that it is given, and sends
a token to whoever listens. So one request is made before it: without a token, then with one if the
other side asks for it.
"""

import ipaddress
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from curvetune.errors import BackendError, ConfigError, printable
from curvetune.jobs.token import TOKEN, TOKEN_FILE, find_token

if TYPE_CHECKING:
    import requests

CONNECT_S, ANSWER_S = 5.0, 10.0
MAX_ANSWER = 10_000  # bytes; Ray's is 150
NEEDS = (
    "A head has it where `pip install 'ray[default]'` was run before `ray start --head`, and it "
    "listens on the head alone unless told otherwise: ssh -L 8265:localhost:8265 HEAD makes it "
    "http://localhost:8265"
)


@dataclass(frozen=True)
class Head:
    """A head that has answered.

    Args:
        address: http(s)://host:port.
        token: what it asks for; None if it asks for none.
        ray: its version of Ray.
    """

    address: str
    token: str | None = field(repr=False)
    ray: str

    @property
    def headers(self) -> dict[str, str]:
        """What each request needs."""
        return _headers(self.token)


def reach(address: str, *, insecure: bool, tell: Callable[[str], object]) -> Head:
    """Return the head at an address, once it has answered.

    Args:
        insecure: whether a cluster that anybody can use may be used.
        tell: hears what is unsafe and allowed all the same.

    Raises:
        ConfigError: the address is none, or everybody may run programs there.
        BackendError: nobody answers, or somebody else, or the token is not right.
    """
    parts = parse_address(address)
    address = f"{parts.scheme}://{parts.netloc}"
    answer = _ask(address, None)
    token = None
    if answer.status_code in (401, 403):
        token, source = find_token(address)
        answer = _ask(address, token)
        if answer.status_code in (401, 403):
            raise BackendError(
                f"--address {address}: the cluster refuses the token of {source}; give the one "
                f"that its head has ({TOKEN_FILE} there, or its Secret) as {TOKEN}"
            )
    version = _ray_version(answer, address)
    _check_safe(parts, address, token, insecure=insecure, tell=tell)
    return Head(address, token, version)


def parse_address(text: str) -> SplitResult:
    """Return the parts of a dashboard's address.

    Raises:
        ConfigError: it is none.
    """
    shown = printable(text.rpartition("@")[2])
    try:
        parts = urlsplit(text.strip())
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ConfigError(
            f"--address {shown}: write http://HEAD:8265 or https://HEAD, the address of the "
            f"dashboard of the cluster's head"
        )
    if "@" in parts.netloc:
        raise ConfigError(
            f"--address …@{shown}: a user or password in it is not used; give the cluster's token "
            f"as {TOKEN}, and leave out what is before the @"
        )
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ConfigError(
            f"--address {shown}: leave out what follows the port: {parts.scheme}://{parts.netloc}"
        )
    return parts


def is_loopback(host: str) -> bool:
    """Say whether all addresses of a host are this machine's own, which nobody else reaches."""
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
        return bool(found) and all(ipaddress.ip_address(ip).is_loopback for ip in found)
    except (OSError, ValueError):
        return False


def _headers(token: str | None) -> dict[str, str]:
    return {} if token is None else {"Authorization": f"Bearer {token}"}


def _ask(address: str, token: str | None) -> "requests.Response":
    """Return who answers at the one page that every version of Ray has.

    Raises:
        BackendError: nobody answers in HTTP.
    """
    import requests

    try:
        answer = requests.get(
            f"{address}/api/version",
            headers=_headers(token),
            timeout=(CONNECT_S, ANSWER_S),
            allow_redirects=False,  # a token goes to whom the user named
            stream=True,
        )
        answer._content = answer.raw.read(MAX_ANSWER, decode_content=True)
        return answer
    except requests.exceptions.SSLError as error:
        raise BackendError(_of_tls(address, str(error))) from None
    except requests.exceptions.ReadTimeout:
        raise _another(address, f"it does not answer within {ANSWER_S:g} s") from None
    except (requests.exceptions.RequestException, OSError) as error:
        if "CA certificate" in str(error):  # the file that REQUESTS_CA_BUNDLE names
            raise BackendError(f"--address {address}: {printable(error)}; name a file") from None
        raise _unanswered(address, error) from None


def _unanswered(address: str, error: Exception) -> BackendError:
    """Return why nobody, or nobody who speaks HTTP, is at an address."""
    import requests

    text = str(error)
    if isinstance(error, requests.exceptions.ConnectTimeout):
        reason = f"no answer in {CONNECT_S:g} s"
    elif "resol" in text.lower() or "getaddrinfo" in text:
        reason = "no such host"
    elif "refused" in text:
        reason = "connection refused"
    elif "unreachable" in text:
        reason = "no way there"
    else:
        return _another(address, "it does not speak HTTP")
    return BackendError(f"--address {address}: no dashboard of Ray is there ({reason}). {NEEDS}")


def _another(address: str, reason: str) -> BackendError:
    return BackendError(
        f"--address {address}: what listens there is no dashboard of Ray ({reason}); give the "
        f"address of the dashboard of the cluster's head, usually http://HEAD:8265"
    )


def _of_tls(address: str, text: str) -> str:
    if any(sign in text for sign in ("WRONG_VERSION_NUMBER", "record layer", "RECORD_LAYER")):
        return f"--address {address}: no TLS is spoken there; is it http:// instead of https://?"
    reason = "it fails"
    for sign, words in (
        ("self-signed", "nobody vouches for it: self-signed"),
        ("self signed", "nobody vouches for it: self-signed"),
        ("unable to get local issuer", "who vouches for it is not known here"),
        ("expired", "it has expired"),
        ("match", "it is another host's"),
    ):
        if sign in text:
            reason = words
            break
    return (
        f"--address {address}: its TLS certificate cannot be trusted ({reason}); if it is right, "
        f"name the file of its authority: REQUESTS_CA_BUNDLE=FILE.pem"
    )


def _ray_version(answer: "requests.Response", address: str) -> str:
    """Return the version of Ray that has answered.

    Raises:
        BackendError: somebody else has.
    """
    try:
        version = answer.json()["ray_version"] if answer.status_code == 200 else None
    except (ValueError, KeyError, TypeError):
        version = None
    if not isinstance(version, str):
        raise _another(address, f"its answer is HTTP {answer.status_code}, not Ray's")
    return printable(version)


def _check_safe(
    parts: SplitResult,
    address: str,
    token: str | None,
    *,
    insecure: bool,
    tell: Callable[[str], object],
) -> None:
    """Refuse a cluster that anybody can use, and say where a token can be overheard."""
    if is_loopback(parts.hostname or ""):
        return
    if token is None and not insecure:
        raise ConfigError(
            f"--address {address}: the cluster asks for no token, so that whoever reaches it can "
            f"run programs there; start its nodes with RAY_AUTH_MODE=token, or allow it with "
            f"--insecure"
        )
    if token is None:
        tell(f"{address} asks for no token: whoever reaches it can run programs there")
    elif parts.scheme == "http":
        tell(
            f"{address}: the token travels in clear; use https://, or a tunnel: "
            f"ssh -L 8265:localhost:8265 HEAD"
        )
