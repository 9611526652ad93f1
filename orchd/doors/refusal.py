"""An answer of our own: one shape for all of them. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable

from orchd.domain.redact import scrub, without_addresses
from orchd.errors import JobRefused
from orchd.hooks.refusal import Refusal
from orchd.http1.names import Header


def rendered(why: JobRefused, request_id: str, secrets: Iterable[str] = ()) -> tuple[list[Header], bytes]:
    """Return headers and body of an answer of our own. It names no address of ours: that is for operators.

    Args:
        secrets: taken out of what a hook has written: it sees the credentials of callers and the node.
    """
    headers = [
        (b"Content-Type", b"application/json"),
        (b"Livepeer-Error", why.word.encode()),
        (b"Livepeer-Request-Id", request_id.encode()),
    ]
    text = None
    if isinstance(why, Refusal):
        hidden = frozenset(secrets)
        headers += [(name, scrub(value.decode("ascii"), hidden).encode("ascii")) for name, value in why.headers]
        text = None if why.body is None else scrub(why.body, hidden)
    if text is None:
        text = json.dumps({"error": why.word, "message": told(why), "request_id": request_id})
    if why.status in (429, 503):
        after = b"%d" % why.retry_after_s
        headers += [(b"Retry-After", after), (b"Livepeer-Backoff", after)]
    return headers, text.encode()


def told(why: JobRefused) -> str:
    """Return what a caller is told of it. What a hook has written is the operator's own choice."""
    return why.message if isinstance(why, Refusal) else without_addresses(why.message)
