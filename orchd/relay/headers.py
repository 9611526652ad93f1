"""Which header fields pass from one of a job's two connections to the other. Pure.

Headers are pairs of bytes, as they came.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from orchd.http1 import render
from orchd.http1.names import LOWER, Header, Memo
from orchd.http1.rules import AnswerHead, RequestHead

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"transfer-encoding",
        b"upgrade",
    }
)
# Each connection has its own: we write the runner's host, and the framing that the body came with.
OURS = frozenset({b"host", b"expect", b"content-length"})
FORWARDED = frozenset({b"forwarded", b"x-forwarded-for", b"x-forwarded-host", b"x-forwarded-proto"})
"""What only a proxy may say of its callers: to a runner that is orchd."""
NEVER_HOPS = frozenset({b"content-length"})
"""What a `Connection` header may not declare away: without it the other side would frame the body differently."""


def interim(head: AnswerHead) -> bytes:
    """Return an interim answer (1xx) as the caller gets it."""
    fields = trailers_to_caller(head, head.headers)
    return render.status_line(head.status, head.reason) + render.lines(fields) + b"\r\n"


def persistence(request: RequestHead, *, keep_alive: bool) -> bytes:
    """Return the end of an answer's head, which says whether the connection stays."""
    if not keep_alive:
        return b"Connection: close\r\n\r\n"
    return b"\r\n" if request.modern else b"Connection: keep-alive\r\n\r\n"


def trailers_to_runner(head: RequestHead, trailers: Sequence[Header]) -> list[Header]:
    """Return those trailers that may pass: who has asked is not for a caller to say, behind the body either."""
    return [field for field in passing(trailers, head.hops, TO_RUNNER) if plain(field[0]) not in FORWARDED]


def trailers_to_caller(head: AnswerHead, trailers: Sequence[Header]) -> list[Header]:
    """Return those trailers that may pass."""
    return [field for field in passing(trailers, head.hops, TO_CALLER) if LOWER[field[0]] != b"content-length"]


def passing(fields: Iterable[Header], hops: frozenset[bytes], fates: Memo[bytes, bool]) -> Iterable[Header]:
    """Return the fields that may pass, by `fates`, and that `Connection` (`hops`) did not declare away."""
    if not hops:
        return [field for field in fields if fates[field[0]]]
    return [
        field for field in fields if fates[field[0]] and (LOWER[field[0]] not in hops or LOWER[field[0]] in NEVER_HOPS)
    ]


def may_reach_runner(name: bytes) -> bool:
    """Credentials and payment are ours and not the runner's."""
    known = plain(name)
    secret = known in (b"authorization", b"livepeer") or known.startswith(b"livepeer-")
    return not secret and known not in HOP_BY_HOP and known not in OURS


def may_reach_caller(name: bytes) -> bool:
    known = plain(name)
    if known == b"content-length":  # It passes only as it is meant.
        return b"_" not in name
    return known not in HOP_BY_HOP and known != b"livepeer-request-id"


def plain(name: bytes) -> bytes:
    """Return a header's name in lower case, and with hyphens for underscores: servers that make variables of names
    (CGI, WSGI) take `Content_Length` for `Content-Length`.
    """
    return name.lower().replace(b"_", b"-")


TO_RUNNER: Memo[bytes, bool] = Memo(may_reach_runner)
"""Whether a field goes on to the runner, by its name."""
TO_CALLER: Memo[bytes, bool] = Memo(may_reach_caller)
"""Whether a field goes back to the caller, by its name."""
