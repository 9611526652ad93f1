"""An answer of our own: one shape for all of them. Pure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from orchd.domain.redact import scrub, without_addresses
from orchd.errors import JobRefused
from orchd.hooks.refusal import Refusal
from orchd.http1.names import Header


def in_own_words(why: JobRefused, request_id: str) -> Mapping[str, Any]:
    """Return what the body says at most doors."""
    return {"error": why.word, "message": told(why), "request_id": request_id}


Wording = Callable[[JobRefused, str], Mapping[str, Any]]
"""Returns what the body says of a refusal, by it and the request id."""


def rendered(
    why: JobRefused,
    request_id: str,
    secrets: Iterable[str] = (),
    *,
    status: int = 0,
    wording: Wording = in_own_words,
) -> tuple[list[Header], bytes]:
    """Return headers and body of an answer of our own. It names no address of ours: that is for operators.

    Args:
        secrets: taken out of what a hook has written: it sees the credentials of callers and the node.
        status: with which it goes out; 0 = its own.
        wording: of a body that no hook has written.
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
        text = json.dumps(wording(why, request_id))
    if (status or why.status) in (429, 503):
        after = b"%d" % why.retry_after_s
        headers += [(b"Retry-After", after), (b"Livepeer-Backoff", after)]
    return headers, text.encode()


def told(why: JobRefused) -> str:
    """Return what a caller is told of it. What a hook has written is the operator's own choice."""
    return why.message if isinstance(why, Refusal) else without_addresses(why.message)
