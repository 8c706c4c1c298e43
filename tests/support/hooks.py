"""A real HTTP server on loopback that writes down what it is sent."""

import contextlib
import http.server
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass
class Request:
    """What arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


@dataclass
class Server:
    """Where it listens, and what has arrived so far."""

    port: int
    requests: list[Request] = field(default_factory=list)


Answer = Callable[[Request], tuple[int, bytes]]


def accept(_: Request) -> tuple[int, bytes]:
    return 200, b"{}"


def repeat(request: Request) -> tuple[int, bytes]:
    """Refuse, and say all that was sent."""
    said = f"{request.path} {request.headers} {request.body!r}"
    return 500, said.encode()


@contextlib.contextmanager
def listening(
    answer: Answer = accept, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> Iterator[Server]:
    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            request = Request(self.command, self.path, dict(self.headers), body)
            found.requests.append(request)
            code, text = answer(request)
            self.send_response(code)
            if 300 <= code < 400:
                self.send_header("Location", f"http://127.0.0.1:{found.port}/elsewhere")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            with contextlib.suppress(OSError):  # nobody waits any more
                self.wfile.write(text)

        do_GET = do_POST

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = http.server.ThreadingHTTPServer((host, 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    server.daemon_threads = True
    found = Server(server.server_address[1])
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
