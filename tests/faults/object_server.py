"""A real S3 server (moto's) on this machine, behind the proxy that acts like a bad network."""

import http.client
import importlib.util
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from proxy import Proxy, proxy_to

MISSING = [m for m in ("obstore", "moto", "flask_cors") if importlib.util.find_spec(m) is None]
needs_server = pytest.mark.skipif(
    bool(MISSING), reason=f"no {', '.join(MISSING)}: pip install 'curvetune[objects,dev]'"
)
START_S = 60.0
AS_OWNER = {
    "Authorization": "AWS4-HMAC-SHA256 Credential=test-id/20260101/us-east-1/s3/aws4_request"
}
KEYS = {"AWS_ACCESS_KEY_ID": "test-id", "AWS_SECRET_ACCESS_KEY": "test-key-not-secret"}


@contextmanager
def s3_server() -> Iterator[int]:
    """Run a server; yield its port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    process = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        end = time.monotonic() + START_S
        while not _answers(port):
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.1)
        yield port
    finally:
        process.kill()
        process.wait()


class Store:
    """A bucket of its own on a server, and the proxy that stands before it."""

    def __init__(self, proxy: Proxy, patch: pytest.MonkeyPatch, folder: Path) -> None:
        self.proxy = proxy
        self.bucket = f"bucket-{uuid.uuid4().hex[:8]}"
        self.url = f"s3://{self.bucket}/results"
        self._patch = patch
        self._folder = folder
        _asked(proxy.upstream, "PUT", f"/{self.bucket}")
        for name, value in KEYS.items():
            patch.setenv(name, value)
        patch.setenv("AWS_REGION", "us-east-1")
        patch.setenv("AWS_ENDPOINT_URL", proxy.uri)
        patch.setenv("CURVETUNE_BUCKET_RETRY_S", "20")
        self.on_machine("first")

    def on_machine(self, name: str) -> None:
        """Let this process have the mirrors of another machine from now on."""
        self._patch.setenv("CURVETUNE_MIRRORS", str(self._folder / name))

    def objects(self, below: str = "") -> list[str]:
        """Return what is in the bucket, asked past the proxy."""
        import obstore
        from obstore.store import S3Store

        store = S3Store(
            self.bucket,
            endpoint=f"http://127.0.0.1:{self.proxy.upstream}",
            client_options={"allow_http": True},
        )
        return sorted(meta["path"] for page in obstore.list(store, below or None) for meta in page)


@pytest.fixture(scope="session")
def s3_port() -> Iterator[int]:
    with s3_server() as port:
        yield port


@pytest.fixture
def store(s3_port: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Store]:
    with proxy_to(s3_port) as proxy:
        yield Store(proxy, monkeypatch, tmp_path)


def _answers(port: int) -> bool:
    try:
        return _asked(port, "GET", "/moto-api/") == 200
    except OSError:
        return False


def _asked(port: int, method: str, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.request(method, path, b"" if method == "PUT" else None)
        return connection.getresponse().status
    finally:
        connection.close()


def downloaded(store: Store, folder: Path) -> Path:
    """Return a plain folder with all that is in a bucket, read by another client than ours."""
    for key in store.objects():
        path = folder / key.removeprefix("results/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw(store, "GET", key))
    return folder


def raw(store: Store, method: str, key: str, content: bytes | None = None) -> bytes:
    """Ask the server itself for an object, or to replace or remove it."""
    connection = http.client.HTTPConnection("127.0.0.1", store.proxy.upstream, timeout=20)
    try:
        connection.request(method, f"/{store.bucket}/{key}", content, AS_OWNER)
        answer = connection.getresponse()
        assert answer.status in (200, 204)
        return answer.read()
    finally:
        connection.close()
