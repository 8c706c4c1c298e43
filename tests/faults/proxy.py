"""A proxy in front of a real MLflow server, which can do to requests what a bad network does."""

import http.client
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

Mode = Literal["pass", "stall", "lose", "cut", "say"]
KEPT = ("content-type", "location", "etag", "last-modified")
ENDPOINTS = {  # what a request is called here, by the end of its path
    "experiments/create": "create_experiment",
    "runs/create": "create_run",
    "runs/log-batch": "log_batch",
    "runs/update": "set_status",
    "runs/delete": "drop",
    "report.md": "write_text",
}


class Proxy:
    """Forwards HTTP to `port` of this machine, as well as its mode lets it.

    pass    as if it were not there
    stall   the request waits for `stall_s` and is forwarded then, though nobody waits any more
    lose    the server does what it is asked, and its answer is lost
    cut     the answer ends in the middle
    say     the server is not asked, and the answer is `said`
    """

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.mode: Mode = "pass"
        self.stall_s = 30.0
        self.said = (503, b"")
        self.times = 1_000_000  # how many requests the mode is still for
        self.hits: Callable[[str], bool] = lambda _: True  # which requests the mode is for
        self.spoiled: Counter[str] = Counter()  # requests that the mode was for, by endpoint
        self.heard: list[str] = []  # all requests: the method and the path
        self.open = 0  # requests that were taken and not forwarded yet
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self._server: ThreadingHTTPServer | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def up(self) -> None:
        """Listen."""
        if self._server is None:
            self._server = _Server(self)
            threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def down(self) -> None:
        """Refuse connections, as a machine does where no server runs."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def set(
        self, mode: Mode, hits: Callable[[str], bool] = lambda _: True, *, stall_s: float = 30.0
    ) -> None:
        self.mode, self.hits, self.stall_s = mode, hits, stall_s

    def settle(self) -> None:
        """Wait until the server has been asked whatever was stalled."""
        while self.open:
            time.sleep(0.05)


@contextmanager
def proxy_to(port: int) -> Iterator[Proxy]:
    proxy = Proxy(port)
    proxy.up()
    yield proxy
    proxy.down()


def endpoint(path: str) -> str:
    path = path.partition("?")[0]
    return next((name for end, name in ENDPOINTS.items() if path.endswith(end)), "ask")


class _Server(ThreadingHTTPServer):
    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False

    def __init__(self, proxy: Proxy) -> None:
        self.proxy = proxy
        super().__init__(("127.0.0.1", proxy.port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is nothing to talk about."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def _handle(self) -> None:
        proxy = self.server.proxy
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        name = endpoint(self.path)
        proxy.heard.append(f"{self.command} {self.path}")
        hit = proxy.mode != "pass" and proxy.times > 0 and proxy.hits(name)
        mode = proxy.mode if hit else "pass"
        proxy.times -= hit
        proxy.spoiled[name] += mode != "pass"
        proxy.open += 1
        if mode == "stall":
            time.sleep(proxy.stall_s)
        if mode == "say":
            status, headers, answer = proxy.said[0], [("content-type", "text/xml")], proxy.said[1]
        else:
            status, headers, answer = self._forward(body)
        proxy.open -= 1
        self.close_connection = True
        if mode == "lose":
            reset = struct.pack("ii", 1, 0)
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
            return
        self.send_response(status)
        for key, value in headers:
            if key.lower() in KEPT:
                self.send_header(key, value)
        length = dict(headers).get("Content-Length", "0") if self.command == "HEAD" else len(answer)
        self.send_header("Content-Length", str(length))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(answer[: len(answer) // 2] if mode == "cut" else answer)

    def _forward(self, body: bytes) -> tuple[int, list[tuple[str, str]], bytes]:
        upstream = http.client.HTTPConnection("127.0.0.1", self.server.proxy.upstream, timeout=60)
        headers = {key: value for key, value in self.headers.items() if key != "Connection"}
        upstream.request(self.command, self.path, body, headers)
        answer = upstream.getresponse()
        found = answer.status, answer.getheaders(), answer.read()
        upstream.close()
        return found

    do_HEAD = do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle

    def log_message(self, format: str, *args: Any) -> None:
        """Requests are not news."""
