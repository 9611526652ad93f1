"""A model that misbehaves when a job asks for it. Standard library only.

    python3 model.py [--port N] [--load S]      PORT (default 8000); S seconds of loading (default 0)

Jobs, by their body: `crash` ends it with a traceback, `hang` has it answer nothing more, its health route included, and
`break` has its health route answer 500. Any other job is answered with its own body.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BEGUN = time.monotonic()
hung, broken = threading.Event(), threading.Event()
OUT_OF_MEMORY = """\
Traceback (most recent call last):
  File "/app/generate.py", line 88, in generate
    latents = self.unet(latents, step)
torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."""
ASSERTED = "CUDA error: device-side assert triggered"


def say(line: str) -> None:
    print(line, flush=True)


class Model(BaseHTTPRequestHandler):
    load_s = 0.0

    def do_GET(self) -> None:
        if hung.is_set():
            threading.Event().wait()
        if broken.is_set():
            self.answer(500, {"status": "error", "detail": ASSERTED})
        elif time.monotonic() - BEGUN < self.load_s:
            self.answer(200, {"status": "loading"})
        else:
            self.answer(200, {"status": "ok"})

    def do_POST(self) -> None:
        word = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        say(f"job: {word}")
        if word == "crash":
            say(OUT_OF_MEMORY)
            os._exit(1)
        if word == "hang":
            hung.set()
            threading.Event().wait()
        if word == "break":
            say(ASSERTED)
            broken.set()
        self.answer(200, {"answer": word})

    def answer(self, code: int, value: object) -> None:
        body = json.dumps(value).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """A line for each probe would drown the jobs'."""


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--load", type=float, default=0.0)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    Model.load_s = args.load
    say("loading weights" if args.load else "started")
    ThreadingHTTPServer(("0.0.0.0", args.port), Model).serve_forever()


if __name__ == "__main__":
    main()
