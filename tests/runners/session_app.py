"""A container's program that speaks for its sessions, as one written for a node does. It listens on port 8000.

GET /health          that it is ready
POST /begin          has a channel `words` and a proxy made, and one to the body's `target`, if there is one; writes
                     "hello" into the channel; answers {"channels", "proxy", "other": where that leads, or who refused}
POST /say            writes the body into the channel
POST /finish         has its session stopped, which cuts this request
POST /job            answers a line with the URL of a proxy at once, and a second line when /release was called
POST /release        lets all jobs go on
else                 answers {"method", "path", "headers", "body"}

All it knows of orchd are the headers `Livepeer-Session-*` of what it is asked.
"""

from __future__ import annotations

import json
import threading
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

PORT = 8000


class App(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"
    internal_url = ""
    released = threading.Event()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self.respond({"status": "ok"} if self.path == "/health" else self.seen())

    def do_POST(self) -> None:
        match self.path:
            case "/begin":
                self.respond(self.begin(json.loads(self.body() or b"{}")))
            case "/say":
                self.respond(ask("POST", f"{App.internal_url}/-1", self.body()))
            case "/finish":
                self.respond(self.for_session("/stop"))
            case "/job":
                self.job()
            case "/release":
                App.released.set()
                self.respond({})
            case _:
                self.respond(self.seen())

    def begin(self, wanted: dict[str, str]) -> dict[str, Any]:
        made = self.for_session("/channels", {"channels": [{"name": "words", "mime_type": "text/plain"}]})
        App.internal_url = made["channels"][0]["internal_url"]
        ask("POST", f"{App.internal_url}/0", b"hello")
        proxy = self.for_session("/proxy", {})
        other = self.for_session("/proxy", {"target_url": wanted["target"]}) if "target" in wanted else None
        return {"channels": made["channels"], "proxy": proxy["url"], "other": other and other["url"]}

    def job(self) -> None:
        self.body()
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(json.dumps(self.for_session("/proxy", {})).encode() + b"\n")
        App.released.wait()
        self.wfile.write(b"{}\n")
        self.close_connection = True

    def for_session(self, path: str, what: object = None) -> Any:
        """Ask orchd for something that is the session's to ask."""
        body = None if what is None else json.dumps(what).encode()
        token = {"Livepeer-Session-Token": self.headers["Livepeer-Session-Token"]}
        return ask("POST", self.headers["Livepeer-Session-Control"] + path, body, token)

    def seen(self) -> dict[str, Any]:
        body = self.body().decode()
        return {"method": self.command, "path": self.path, "headers": dict(self.headers), "body": body}

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def respond(self, what: object) -> None:
        text = json.dumps(what).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


def ask(method: str, url: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Any:
    """Return what orchd answers; JSON if it is."""
    request = urllib.request.Request(url, body if body is not None else b"", headers or {}, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        text = answer.read()
        return json.loads(text) if answer.headers.get_content_type() == "application/json" else text.decode()


if __name__ == "__main__":
    ThreadingHTTPServer(("", PORT), App).serve_forever()
