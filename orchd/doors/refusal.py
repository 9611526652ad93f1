"""An answer of our own: one shape for all of them. Pure."""

from __future__ import annotations

import json

from orchd.errors import JobRefused
from orchd.http1.names import Header


def rendered(why: JobRefused, request_id: str) -> tuple[list[Header], bytes]:
    """Return headers and body of an answer of our own."""
    body = {"error": why.code, "message": why.message, "request_id": request_id}
    headers = [
        (b"Content-Type", b"application/json"),
        (b"Livepeer-Error", why.code.encode()),
        (b"Livepeer-Request-Id", request_id.encode()),
    ]
    if why.status == 503:
        after = b"%d" % why.retry_after_s
        headers += [(b"Retry-After", after), (b"Livepeer-Backoff", after)]
    return headers, json.dumps(body).encode()
