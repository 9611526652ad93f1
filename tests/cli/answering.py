"""A server that gives every request one answer, for commands to ask."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from socketserver import BaseServer


def answering(code: int, body: bytes, claims: int | None = None) -> type[BaseHTTPRequestHandler]:
    """Answers each request so. `claims`: how long it says that the body is."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(code)
            self.send_header("Content-Length", str(len(body) if claims is None else claims))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.do_GET()

        def address_string(self) -> str:
            return "a peer"  # One by a unix socket has no address.

        def log_message(self, *_: object) -> None:
            pass

    return Handler


@contextmanager
def serving(server: BaseServer) -> Iterator[None]:
    """Serve from a thread, and close at the end."""
    with server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
