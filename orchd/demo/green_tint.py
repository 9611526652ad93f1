"""A sample model: adds 80 to the green byte of each RGB pixel. Standard library only, Python >= 3.9.

    python3 green_tint.py [--port N]        PORT (default 8000), HOST (default 0.0.0.0), PIPELINE

GET /health answers {"status":"ok"}. POST /live/video-to-video, /live-video-to-video or /PIPELINE takes a frame of raw
RGB (640x480 is 921,600 bytes) and answers one of the same size. SIGTERM ends it once running requests are done, within
a second.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ADD_80 = bytes(min(255, value + 80) for value in range(256))
PATHS = {"/live/video-to-video", "/live-video-to-video", "/" + os.environ.get("PIPELINE", "live-video-to-video")}

running = 0
idle = threading.Condition()


def tint(frame: bytearray) -> None:
    """Add 80 to every second byte of three, at most 255, in place."""
    frame[1::3] = frame[1::3].translate(ADD_80)


class TintHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # Connections are kept.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if self.path == "/health":
            self.answer_json(200, {"status": "ok"})
        else:
            self.answer_json(404, {"error": f"cannot find {self.path}"})

    def do_POST(self) -> None:
        global running  # noqa: PLW0603 - one process, one server
        with idle:
            running += 1
        try:
            self.infer()
        finally:
            with idle:
                running -= 1
                idle.notify()

    def infer(self) -> None:
        frame = self.read_body()
        path = self.path.partition("?")[0]
        if path not in PATHS:
            self.answer_json(404, {"error": f"cannot find {path}: POST to one of {', '.join(sorted(PATHS))}"})
        elif not frame or len(frame) % 3:
            self.answer_json(400, {"error": f"cannot tint {len(frame)} bytes: send raw RGB, three bytes a pixel"})
        else:
            tint(frame)
            self.answer(200, "application/octet-stream", frame)

    def read_body(self) -> bytearray:
        if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
            return bytearray(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        body = bytearray()
        while size := int(self.rfile.readline().split(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return body

    def answer_json(self, code: int, value: Any) -> None:
        self.answer(code, "application/json", json.dumps(value, separators=(",", ":")).encode())

    def answer(self, code: int, kind: str, body: bytes | bytearray) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """One line a request would drown everything else."""


class Server(ThreadingHTTPServer):
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that leaves is not an error."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def end(signum: int, frame: object) -> None:
    raise SystemExit(0)


def main() -> None:
    port = int(sys.argv[2] if sys.argv[1:2] == ["--port"] else os.environ.get("PORT", "8000"))
    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    server = Server((os.environ.get("HOST", "0.0.0.0"), port), TintHandler)  # noqa: S104 - a container's own network
    print(f"green_tint: listening on {port}", flush=True)
    try:
        server.serve_forever()
    finally:
        server.server_close()  # Does not wait: the threads are daemons.
        with idle:
            idle.wait_for(lambda: running == 0, timeout=0.8)


if __name__ == "__main__":
    main()
