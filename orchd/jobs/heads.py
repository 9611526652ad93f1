"""Heads on their way: the one that a runner gets of a request, and the one that a caller gets of an answer. Pure.

Headers are pairs of bytes, as they came.
"""

from __future__ import annotations

import re

from orchd.domain.ids import Address
from orchd.http1 import render
from orchd.http1.names import LOWER, Memo
from orchd.http1.rules import NO_NAMES, AnswerHead, RequestHead
from orchd.relay.headers import TO_CALLER, TO_RUNNER, passing, persistence, plain

REQUEST_ID = re.compile(rb"[\x21-\x7e]{1,64}")
KEEP_ALIVE = b"Connection: keep-alive\r\n\r\n"
UPGRADE = b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"


def request_id(given: bytes | None) -> str | None:
    """Return the caller's `Livepeer-Request-Id` if it is sane: 1 to 64 visible ASCII characters."""
    return given.decode() if given is not None and REQUEST_ID.fullmatch(given) else None


def host_line(address: Address) -> bytes:
    """Return the part of a request's head that is the same for all jobs of a runner."""
    host = f"[{address.host}]" if ":" in address.host else address.host
    return f" HTTP/1.1\r\nHost: {host}:{address.port}\r\n".encode("ascii")


def to_runner(
    head: RequestHead,
    target: bytes,
    host: bytes,
    *,
    token: str | None = None,
    fates: Memo[bytes, bool] = TO_RUNNER,
    lines: bytes = b"",
) -> bytes:
    """Return the head that the runner gets: the caller's headers in their order, duplicates kept, without secrets and
    without what belongs to the caller's connection.

    Args:
        target: path and query, with an external runner's base path.
        host: of `host_line`.
        token: bearer token of the entry, if it has one. It stands in place of what the caller presents.
        fates: which of the caller's headers pass, by name: of the door by which the job came.
        lines: what else the runner is told.
    """
    parts = [head.method, b" ", target, host]
    fields = passing(head.headers, head.hops, fates)
    if token is not None:
        fields = [field for field in fields if plain(field[0]) != b"authorization"]
    parts += [b"%b: %b\r\n" % field for field in fields]
    parts.append(lines)
    if token is not None:
        parts.append(b"Authorization: Bearer %b\r\n" % token.encode("ascii"))
    if head.length is not None:
        parts.append(b"Content-Length: %d\r\n" % head.length)
    elif head.chunked:
        parts.append(b"Transfer-Encoding: chunked\r\n")
    parts.append(UPGRADE if head.switches else KEEP_ALIVE)
    return b"".join(parts)


class AnswerToCaller:
    """The head that callers with the same request get of one answer, but for request id and date.

    Attributes:
        answer: the runner's.
        keep_alive: the caller's connection goes on after it.
        chunked: its body goes out in chunks.
        events: it is an event stream, whose end the node must see.
        dated: the runner has dated it.
    """

    __slots__ = ("_end", "_start", "answer", "chunked", "dated", "events", "keep_alive")

    def __init__(
        self,
        answer: AnswerHead,
        request: RequestHead,
        *,
        keep_alive: bool,
        events: bool = False,
        without: frozenset[bytes] = NO_NAMES,
        extra: bytes = b"",
    ) -> None:
        """Build the head once for all callers with the same request.

        Args:
            answer: the runner's.
            request: the caller's.
            keep_alive: the caller's connection goes on after it.
            events: it is an event stream, whose end the caller must be told in words.
            without: lower-case names that do not pass.
            extra: lines in their place.
        """
        self.answer = answer
        self.keep_alive = keep_alive
        self.events = events
        # Where it has no known length, or will get another end; 1.0 knows no chunks.
        self.chunked = request.modern and (events or answer.length is None)
        start = answer.memo if not without else _start_to_caller(answer, without)
        if start is None:
            start = answer.memo = _start_to_caller(answer, NO_NAMES)
        fields, self.dated = start
        end = _switch(answer) if answer.switches else persistence(request, keep_alive=keep_alive)
        if self.chunked:
            end = b"Transfer-Encoding: chunked\r\n" + end
        self._start = fields + b"Livepeer-Request-Id: "
        self._end = extra + end

    def head(self, request_id: str, date: bytes, lines: bytes = b"") -> bytes:
        """Return the runner's head without what belongs to its connection, and with the request id.

        Args:
            date: the line to add where the runner gave none.
            lines: what only this caller is told.
        """
        return b"".join((self._start, request_id.encode(), b"\r\n", b"" if self.dated else date, lines, self._end))


def _start_to_caller(head: AnswerHead, without: frozenset[bytes]) -> tuple[bytes, bool]:
    """Return what is the same for all callers, and whether a date is in it."""
    parts = [render.status_line(head.status, head.reason)]
    sized = dated = False
    for field in passing(head.headers, head.hops, TO_CALLER):
        name = LOWER[field[0]]
        if name in without:
            continue
        if name == b"content-length":
            if sized or head.chunked or head.status == 204:
                continue  # Once is enough; a transfer coding overrides it; a 204 has none (RFC 9110, section 8.6).
            sized = True
        elif name == b"date":
            dated = True
        parts.append(b"%b: %b\r\n" % field)
    return b"".join(parts), dated


def _switch(head: AnswerHead) -> bytes:
    protocol = next((value for name, value in head.headers if LOWER[name] == b"upgrade"), b"websocket")
    return b"Connection: Upgrade\r\nUpgrade: %b\r\n\r\n" % protocol
