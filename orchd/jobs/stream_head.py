"""What the head of a call about a stream says: which one is meant, and what of it is told to others. Pure."""

from __future__ import annotations

from orchd.domain.live_runner import ROUTE, TOKEN
from orchd.doors.base import StreamNaming
from orchd.errors import Code, JobRefused
from orchd.http1.names import LOWER, Header
from orchd.http1.rules import RequestHead
from orchd.jobs.stream_body import stream_id


def nameless(naming: StreamNaming) -> JobRefused:
    """Return the refusal of a call that names no stream, where the head has to."""
    return JobRefused(Code.BAD_REQUEST, f"cannot tell the {naming.word}: the request has no {naming.shown}")


def name_in(head: RequestHead, naming: StreamNaming) -> str:
    """Return how the head names the stream; empty = not at all.

    Raises:
        JobRefused: BAD_REQUEST.
    """
    return stream_id(_said(head, naming.header, naming.shown), naming.shown)


def session_pass(head: RequestHead) -> tuple[str, str]:
    """Return what Live Runner tells of the session: the runner's route there, and the session's token; empty = nothing.

    Raises:
        JobRefused: BAD_REQUEST.
    """
    return _said(head, ROUTE.lower().encode(), ROUTE), _said(head, TOKEN.lower().encode(), TOKEN)


def passing_headers(head: RequestHead, naming: StreamNaming) -> dict[str, str]:
    """Return the headers that the container gets.

    Raises:
        JobRefused: BAD_REQUEST.
    """
    passing = _only(head, naming.passing).values()
    headers = {name.decode("latin-1"): _text(value, name.decode("latin-1")) for name, value in passing}
    if not any(name.lower() == "content-type" for name in headers):
        headers["Content-Type"] = "application/json"
    return headers


def _said(head: RequestHead, name: bytes, shown: str) -> str:
    return _text(_only(head, frozenset({name})).get(name, (b"", b""))[1], shown)


def _only(head: RequestHead, names: frozenset[bytes]) -> dict[bytes, Header]:
    """Return the headers of these lower-case names, without those that say nothing.

    Raises:
        JobRefused: BAD_REQUEST: one is given twice, with different values: orchd and the container could differ on it.
    """
    found: dict[bytes, Header] = {}
    for name, value in head.headers:
        lower, text = LOWER[name], value.strip(b" \t")
        if lower in names and text and found.setdefault(lower, (name, text))[1] != text:
            raise JobRefused(
                Code.BAD_REQUEST, f"cannot take {name.decode('latin-1')}: it is given twice, with different values"
            )
    return found


def _text(value: bytes, where: str) -> str:
    """Return a header's value so that it reaches the container byte for byte.

    Raises:
        JobRefused: BAD_REQUEST.
    """
    try:
        return value.decode()
    except UnicodeDecodeError as exc:
        raise JobRefused(Code.BAD_REQUEST, f"cannot take {where}: its bytes are not UTF-8") from exc
