"""Who answers at the address of a dashboard, and who is trusted with a token."""

import contextlib
import datetime
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import hooks
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from curvetune.errors import BackendError, ConfigError, CurvetuneError
from curvetune.jobs.head import Head, parse_address, reach

TOKEN = "a-token-of-this-cluster-0123456789"
VERSION = json.dumps({"version": "4", "ray_version": "2.60.0"}).encode()


def open_head(_: hooks.Request) -> tuple[int, bytes]:
    return 200, VERSION


def guarded_head(request: hooks.Request) -> tuple[int, bytes]:
    """Answer as a dashboard of Ray 2.60 with RAY_AUTH_MODE=token does."""
    given = request.headers.get("Authorization")
    if given is None:
        return 401, b"Unauthorized: Missing authentication token"
    if given != f"Bearer {TOKEN}":
        return 403, b"Forbidden: Invalid authentication token"
    return open_head(request)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without a token."""
    for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH", "REQUESTS_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def reached(address: str, *, insecure: bool = False) -> tuple[Head, list[str]]:
    said: list[str] = []
    return reach(address, insecure=insecure, tell=said.append), said


def refusal(address: str, kind: type[CurvetuneError], *, insecure: bool = False) -> str:
    begin = time.monotonic()
    with pytest.raises(kind) as caught:
        reached(address, insecure=insecure)
    assert time.monotonic() - begin < 8
    text = str(caught.value)
    assert "\n" not in text
    assert TOKEN not in text
    return text


@pytest.mark.parametrize(
    "address",
    ["HEAD:8265", "head:6379", "auto", "ray://head:10001", "http://", "http://head:70000", ""],
)
def test_an_address_that_is_none_of_a_dashboard_says_how_one_looks(address: str) -> None:
    with pytest.raises(ConfigError, match="http://HEAD:8265"):
        parse_address(address)


def test_a_password_in_the_address_is_refused_and_not_repeated() -> None:
    with pytest.raises(ConfigError, match="RAY_AUTH_TOKEN") as caught:
        parse_address("http://user:hunter22@head:8265")
    assert "hunter22" not in str(caught.value)


def test_a_loopback_cluster_without_a_token_is_used_as_it_is() -> None:
    with hooks.listening(open_head) as server:
        head, said = reached(f"http://127.0.0.1:{server.port}/")
    assert head == Head(f"http://127.0.0.1:{server.port}", None, "2.60.0")
    assert said == []


def test_a_token_is_found_in_the_order_of_ray(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with hooks.listening(guarded_head) as server:
        address = f"http://127.0.0.1:{server.port}"
        assert "there is none here" in refusal(address, BackendError)
        (home / ".ray").mkdir()
        (home / ".ray" / "auth_token").write_text(f"{TOKEN}\n")
        assert reached(address)[0].token == TOKEN
        named = home / "other"
        named.write_text("wrong")
        monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(named))
        assert f"refuses the token of RAY_AUTH_TOKEN_PATH ({named})" in refusal(
            address, BackendError
        )
        monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
        assert reached(address)[0].token == TOKEN
        monkeypatch.delenv("RAY_AUTH_TOKEN")
        named.unlink()
        assert "cannot be read (No such file or directory)" in refusal(address, BackendError)


def test_a_head_is_not_shown_with_its_token() -> None:
    assert TOKEN not in repr(Head("http://localhost:1", TOKEN, "2.60.0"))


def test_a_token_is_sent_to_nobody_who_does_not_ask_for_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    with hooks.listening(open_head) as server:
        assert reached(f"http://127.0.0.1:{server.port}")[0].token is None
    assert [request.headers.get("Authorization") for request in server.requests] == [None]


def test_a_token_does_not_follow_a_redirection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    answers = iter([(401, b""), (307, b"")])
    with hooks.listening(lambda _: next(answers)) as server:
        text = refusal(f"http://127.0.0.1:{server.port}", BackendError)
    assert "HTTP 307" in text
    assert [request.path for request in server.requests] == ["/api/version"] * 2


def test_a_token_that_no_header_can_have_is_refused_unseen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", f"{TOKEN}\nX-Other: 1")
    with hooks.listening(guarded_head) as server:
        assert "is no token" in refusal(f"http://127.0.0.1:{server.port}", BackendError)


def own_address() -> str:
    """Return an address of this machine that other hosts reach; skip where there is none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            pytest.skip("this machine has no address but loopback")
        return str(asked.getsockname()[0])


def test_a_cluster_without_a_token_is_refused_unless_it_is_allowed() -> None:
    host = own_address()
    with hooks.listening(open_head, host) as server:
        address = f"http://{host}:{server.port}"
        text = refusal(address, ConfigError)
        head, said = reached(address, insecure=True)
    assert "--insecure" in text
    assert "RAY_AUTH_MODE=token" in text
    assert head.token is None
    assert len(said) == 1


def test_a_token_that_travels_in_clear_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", TOKEN)
    host = own_address()
    with hooks.listening(guarded_head, host) as server:
        _, said = reached(f"http://{host}:{server.port}")
    assert len(said) == 1
    assert "in clear" in said[0]


def test_where_nobody_listens_the_message_says_what_a_head_needs() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        text = refusal(f"http://127.0.0.1:{free.getsockname()[1]}", BackendError)
    assert "connection refused" in text
    assert "pip install 'ray[default]'" in text


def test_a_host_that_is_not_there_is_said() -> None:
    assert "no such host" in refusal("http://nowhere.invalid:8265", BackendError)


def test_another_service_is_no_dashboard() -> None:
    with hooks.listening(lambda _: (200, b"<html>")) as server:
        text = refusal(f"http://127.0.0.1:{server.port}", BackendError)
    assert "what listens there is no dashboard of Ray (its answer is HTTP 200" in text
    with hooks.listening(lambda _: (404, b"")) as server:
        assert "HTTP 404" in refusal(f"http://127.0.0.1:{server.port}", BackendError)


@contextlib.contextmanager
def talking(says: bytes) -> Iterator[int]:
    """Listen, and say the same to everybody, as what speaks no HTTP does."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    with connection:
                        connection.recv(1000)
                        connection.sendall(says)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


@pytest.mark.parametrize("says", [b"", b"SSH-2.0-OpenSSH\r\n", b"\x00\x00\x12\x04" * 9])
def test_what_speaks_no_http_is_no_dashboard(says: bytes) -> None:
    with talking(says) as port:
        assert "does not speak HTTP" in refusal(f"http://127.0.0.1:{port}", BackendError)


def certified(folder: Path) -> tuple[ssl.SSLContext, Path]:
    """Return a server's side of TLS for localhost, and the file that vouches for it."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    )
    certificate = folder / "certificate.pem"
    secret = folder / "key.pem"
    pem = serialization.Encoding.PEM
    certificate.write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(pem))
    plain = (serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    secret.write_bytes(key.private_bytes(pem, *plain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, secret)
    return context, certificate


def test_a_certificate_is_trusted_only_if_somebody_vouches_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    context, certificate = certified(tmp_path)
    with hooks.listening(open_head, tls=context) as server:
        address = f"https://localhost:{server.port}"
        text = refusal(address, BackendError)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert reached(address)[0].ray == "2.60.0"
        plain = refusal(f"http://localhost:{server.port}", BackendError)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
        assert "/nowhere/ca.pem" in refusal(address, BackendError)
    assert "certificate cannot be trusted (nobody vouches for it: self-signed)" in text
    assert "REQUESTS_CA_BUNDLE=FILE.pem" in text
    assert "does not speak HTTP" in plain


def test_https_where_none_is_spoken_is_said() -> None:
    with hooks.listening(open_head) as server:
        text = refusal(f"https://localhost:{server.port}", BackendError)
    assert "no TLS is spoken there; is it http://" in text
