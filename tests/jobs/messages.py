"""Requests and answers as bytes."""

from __future__ import annotations

import json
from collections.abc import Sequence

from orchd.errors import JOB_ANSWERS, Code
from tests.faults.message import Message

ONE = "/models/image/org%2Fone"


def request(
    *headers: tuple[str, str],
    method: str = "POST",
    target: str = "/image",
    body: bytes = b"",
    chunks: Sequence[bytes] | None = None,
    version: str = "1.1",
) -> bytes:
    """Return a request with a body of that length, or of those chunks."""
    lines = [f"{method} {target} HTTP/{version}", "Host: orchd.test", *(f"{name}: {value}" for name, value in headers)]
    return _framed(lines, body, chunks, bare=method == "GET" and not body)


def answer(
    body: bytes = b"answer", *headers: tuple[str, str], status: int = 200, chunks: Sequence[bytes] | None = None
) -> bytes:
    lines = [f"HTTP/1.1 {status} Any", *(f"{name}: {value}" for name, value in headers)]
    return _framed(lines, body, chunks, bare=status < 200)


def _framed(lines: list[str], body: bytes, chunks: Sequence[bytes] | None, *, bare: bool) -> bytes:
    if chunks is not None:
        lines.append("Transfer-Encoding: chunked")
        body = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"
    elif not bare:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


UPGRADE = request(("Connection", "Upgrade"), ("Upgrade", "websocket"), method="GET", target=f"{ONE}/ws")
SWITCHED = answer(b"", ("Connection", "Upgrade"), ("Upgrade", "websocket"), status=101)


def refused(message: Message) -> Code:
    """Return the code of our own answer, having checked its shape."""
    assert message.end is not None
    body = json.loads(message.body)
    assert set(body) == {"error", "message", "request_id"}
    assert body["message"].startswith("cannot ")
    code = Code(body["error"])
    assert message.header("Livepeer-Error") == code
    assert message.header("Livepeer-Request-Id") == body["request_id"]
    assert message.status == JOB_ANSWERS[code] != 401
    backoff = message.header("Retry-After"), message.header("Livepeer-Backoff")
    assert (backoff == ("1", "1")) if message.status in (429, 503) else (backoff == (None, None))
    return code
