"""An answer of our own: one shape for all of them. Pure."""

from __future__ import annotations

import json

from orchd.errors import JobRefused
from orchd.jobs.request import Headers


def rendered(why: JobRefused, request_id: str) -> tuple[Headers, bytes]:
    """Return headers and body of an answer of our own."""
    body = {"error": why.code, "message": why.message, "request_id": request_id}
    headers: Headers = (
        ("Content-Type", "application/json"),
        ("Livepeer-Error", why.code),
        ("Livepeer-Request-Id", request_id),
    )
    if why.status == 503:
        after = str(why.retry_after_s)
        headers = (*headers, ("Retry-After", after), ("Livepeer-Backoff", after))
    return headers, json.dumps(body).encode()
