"""One GET over a connection of its own, for a quarter of what an HTTP client library needs for it.

A thousand models are asked some two hundred times a second, and nearly all of their answers are small and well formed.
Those are read here. What is not understood here raises `NotUnderstood`: the caller then asks again with a library,
which forgives more, and has the words for what is wrong.
"""

from __future__ import annotations

import asyncio
from functools import lru_cache
from typing import Any, NamedTuple

from yarl import URL

from orchd.domain.ids import Address
from orchd.http1.parser import STEPS, AnswerParser
from orchd.names import Names

HEAD_BYTES = 32_768
"""An answer with a longer head is not understood."""

SCHEME = "http"
"""TLS needs a library anyway."""


class NotUnderstood(Exception):
    """The answer is not HTTP/1.1 as RFC 9112 has it, or too large."""


class BrokenOff(Exception):
    """The connection ended before the answer was whole. `began`: its head had come."""

    def __init__(self, *, began: bool) -> None:
        super().__init__(began)
        self.began = began


class ProbeAnswer(NamedTuple):
    """What a runner has answered.

    Attributes:
        body: its beginning, at most as much as was asked for.
        location: where a redirect points to; empty = nowhere.
    """

    status: int
    body: bytes
    location: str


class Question(asyncio.Protocol):
    """One request and its answer on one connection.

    Args:
        request: its bytes.
        most: of the body, bytes.

    Attributes:
        connected: the connection was made.
        answer: resolves to a `ProbeAnswer`, or to what went wrong.
    """

    def __init__(self, request: bytes, most: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._request = request
        self._most = most
        self._parser = AnswerParser(HEAD_BYTES)
        self._transport: Any = None  # uvloop's are no asyncio.Transport.
        self._at_end = False
        self.connected = False
        self.answer: asyncio.Future[ProbeAnswer] = self._loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.connected = True
        self._transport = transport
        self._parser.expect(b"GET")
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        self._parser.steps = STEPS
        self._parser.feed(data)
        self._look()

    def eof_received(self) -> bool:
        self._at_end = True
        self._look()
        return True  # What came before may not have been looked at yet; `close` ends the connection.

    def connection_lost(self, exc: Exception | None) -> None:
        self._fail(exc or BrokenOff(began=self._current() is not None))

    def close(self) -> None:
        """Let go of the connection, whatever is under way."""
        if not self.answer.cancel() and not self.answer.cancelled():
            self.answer.exception()  # It may be that nobody waits for it any more.
        if self._transport is not None:
            self._transport.abort()
        self._parser.close()

    def _current(self) -> Any:
        """Return the answer proper; None = its head has not come."""
        messages = self._parser.messages
        while messages and messages[0].head.interim:
            messages.popleft()
        return messages[0] if messages else None

    def _look(self) -> None:
        """See whether the answer is whole, or enough of it."""
        message = self._current()
        if self._at_end and not self._parser.held and self._parser.broken is None:
            if message is None:
                self._fail(BrokenOff(began=False))
                return
            self._parser.feed_eof()
        if message is not None and (message.ended or message.received >= self._most):
            head = message.head
            location = next((value for name, value in head.headers if name.lower() == b"location"), b"")
            body = message.take()[: self._most]
            self._done(ProbeAnswer(head.status, bytes(body), location.decode(errors="replace")))
        elif self._parser.broken is not None:
            self._fail(NotUnderstood() if message is None else BrokenOff(began=True))
        elif self._parser.held:  # More lines of a chunked body than one turn of the loop is meant for.
            self._loop.call_soon(self._go_on)

    def _go_on(self) -> None:
        if not self.answer.done():
            self._parser.steps = STEPS
            self._parser.go_on()
            self._look()

    def _done(self, answer: ProbeAnswer) -> None:
        if not self.answer.done():
            self.answer.set_result(answer)
            self._transport.abort()

    def _fail(self, exc: Exception) -> None:
        if not self.answer.done():
            self.answer.set_exception(exc)


@lru_cache(maxsize=4096)
def request_for(address: Address, path: str) -> bytes:
    """Return the bytes of a GET, with the path as HTTP libraries spell it."""
    url = URL(address.url + path)
    host = f"[{address.host}]" if ":" in address.host else url.raw_host
    port = "" if url.is_default_port() else f":{address.port}"
    head = (
        *(f"GET {url.raw_path_qs} HTTP/1.1", f"Host: {host}{port}", "User-Agent: orchd"),
        *("Accept-Encoding: identity", "Accept: */*", "Connection: close"),
    )
    return "\r\n".join((*head, "", "")).encode()


async def ask(names: Names, address: Address, question: Question) -> ProbeAnswer:
    """Connect, ask, and return the answer. The caller bounds the time.

    Raises:
        NotUnderstood, BrokenOff, OSError.
    """
    try:
        await names.connect(lambda: question, address.host, address.port)
        return await question.answer
    finally:
        question.close()
