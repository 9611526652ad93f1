"""Bytes -> messages. Pure: no sockets, no waiting.

Heads are read by llhttp (httptools), and never anything else, so that it can't disagree with us about where a body
ends; bodies are counted or decoded here. A head that came before, byte for byte, means what it meant then: it is looked
up and not read again.

The parsers never raise: what can't be understood is in `broken`, and whatever was whole before it still counts.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpRequestParser, HttpResponseParser

from orchd.http1.chunks import ChunkedBody
from orchd.http1.names import Header
from orchd.http1.rules import SWITCHING, AnswerHead, Malformed, RequestHead

Head = TypeVar("Head", RequestHead, AnswerHead)

_END = b"\r\n\r\n"
_KNOWN_HEADS = 1024
_KNOWN_BYTES = 2048  # Of one head; longer ones hold tickets, which never come twice.


class Message(Generic[Head]):
    """Attributes:
    pieces: of the body, those that nobody has taken yet.
    received: bytes of the body that came through the parser, taken or not.
    trailers: header fields behind a chunked body.
    ended: the message is whole.
    """

    __slots__ = ("ended", "head", "pieces", "received", "trailers")

    def __init__(self, head: Head, body: bytes = b"", *, ended: bool = False) -> None:
        self.head: Head = head
        self.pieces: list[bytes] = [body] if body else []
        self.received = len(body)
        self.trailers: Sequence[Header] = ()
        self.ended = ended

    def take(self) -> bytes:
        """Return what has come of the body since the last call."""
        pieces = self.pieces
        if len(pieces) == 1:
            return pieces.pop()
        whole = b"".join(pieces)
        pieces.clear()
        return whole


class _Parser(Generic[Head]):
    """Attributes:
    messages: in the order of the connection; whoever is done with one takes it off.
    broken: why nothing can follow; None = something can.
    mid_head: bytes of a head have come, and it is not whole.
    open: the message whose body is under way.
    switched: what follows is not for us, or not yet; it is collected in `rest`.
    """

    _first_line: re.Pattern[bytes]

    def __init__(self, max_head_bytes: int, heads: dict[bytes, Head]) -> None:
        self._heads: dict[bytes, Head] = heads
        self.messages: deque[Message[Head]] = deque()
        self.broken: Malformed | None = None
        self.mid_head = False
        self.switched = False
        self.rest = b""
        self._most = max_head_bytes
        self.open: Message[Head] | None = None
        self._left = 0  # Bytes to come of the body under way; -1 = until the connection ends.
        self._chunked: ChunkedBody | None = None
        self._last = False  # No message follows the one under way.
        self._llhttp: Any = self._fresh()
        self._raw = bytearray()  # Of the head under way.
        self._headers: list[Header] = []
        self._line = b""  # Target or reason.
        self._made: Head | None = None

    def close(self) -> None:
        """Let go of llhttp, which refers back to us. No more may be fed."""
        self._llhttp = None

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the connection."""
        if self.open is None and not (self.mid_head or self._last or self.switched):
            # The usual small message comes at once, under a head that came before. The steps below would do the same.
            end = data.find(_END) + 4
            head = self._heads.get(data[:end])
            if head is not None and head.plain_length == len(data) - end and end <= self._most:
                self.messages.append(Message(head, data[end:], ended=True))
                return
        while data:
            message = self.open
            if message is not None:
                data = self._body(message, data)
            elif self._last:
                return
            elif self.switched:
                self.rest += data
                return
            else:
                data = self._head(data)

    def passed_by(self) -> None:
        """The body under way has ended; what was missing of it went another way than through the parser."""
        assert self.open is not None
        self._left = 0
        self.open.ended = True
        self.open = None

    # Heads.

    def _head(self, data: bytes) -> bytes:
        """Read a head, or more of it, and begin its message; return what is not yet read."""
        head = None
        end = data.find(_END) + 4
        if 4 <= end <= self._most and not self.mid_head:
            head = self._heads.get(data[:end])
        if head is None:
            head, end = self._read(data)
        rest = data[end:]
        if head is None:
            return rest
        message = Message(head)
        self.messages.append(message)
        self.switched = head.switches
        self._last = head.last
        length = head.length
        if length:
            self._left = length
        elif head.chunked:
            self._chunked = ChunkedBody(self._most)
        elif head.until_close:
            self._left = -1
        else:
            message.ended = True
            return rest
        self.open = message
        return rest

    def _read(self, data: bytes) -> tuple[Head | None, int]:
        """Have llhttp read what `data` has of a head; return the head if it is whole, and where what follows begins."""
        tail = bytes(self._raw[-3:])
        end = (tail + data).find(_END) + 4 - len(tail)
        whole = end + len(tail) >= 4
        if not whole:
            end = len(data)
        piece = data[:end]
        self._raw += piece
        if len(self._raw) > self._most:
            self._break(Malformed(f"has more than {self._most // 1024} KiB of head", 431))
            return None, len(data)
        try:
            self._llhttp.feed_data(piece)
        except HttpParserUpgrade:
            pass  # It stops there anyway.
        except HttpParserCallbackError:
            if self.broken is None:
                raise
            return None, len(data)
        except HttpParserError as exc:
            self._break(Malformed(f"is not HTTP/1.1 ({str(exc)[:60]})"))
            return None, len(data)
        self.mid_head = not whole
        if not whole:
            return None, end
        raw, self._raw = bytes(self._raw), bytearray()
        head, self._made = self._made, None
        if head is not None:  # Else there were just empty lines, which may precede a request.
            self._llhttp = self._fresh()
            if not self._first_line.match(raw):
                self._break(Malformed("has a first line that is not as it should be"))
                return None, len(data)
            if len(raw) <= _KNOWN_BYTES:
                if len(self._heads) >= _KNOWN_HEADS:
                    self._heads.clear()
                self._heads[raw] = head
        return head, end

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        headers, self._headers = self._headers, []
        line, self._line = self._line, b""
        try:
            self._made = self._understood(line, headers)
        except Malformed as why:
            self._break(why)
            raise

    # Bodies.

    def _body(self, message: Message[Head], data: bytes) -> bytes:
        """Take what belongs to the body; return what follows it."""
        pieces = message.pieces
        if self._chunked is not None:
            known = len(pieces)
            try:
                rest = self._chunked.feed(data, pieces)
            except Malformed as why:
                return self._break(why)
            message.received += sum(map(len, pieces[known:]))
            if rest is None:
                return b""
            message.trailers = self._chunked.trailers
            self._chunked = None
            self.passed_by()
            return rest
        left, size = self._left, len(data)
        if left < 0 or size < left:
            pieces.append(data)
            message.received += size
            if left > 0:
                self._left = left - size
            return b""
        pieces.append(data if size == left else data[:left])
        message.received += left
        self.passed_by()
        return data[left:]

    def _break(self, why: Malformed) -> bytes:
        self.broken = self.broken or why
        self._last, self.open = True, None
        return b""

    # What requests and answers differ in.

    def _fresh(self) -> HttpRequestParser | HttpResponseParser:
        raise NotImplementedError

    def _understood(self, line: bytes, headers: list[Header]) -> Head:
        """Raises:
        Malformed.
        """
        raise NotImplementedError


class RequestParser(_Parser[RequestHead]):
    """`switched` and `rest` hold what follows a request to switch protocols, until somebody has decided: `go_on`."""

    _shared: ClassVar[dict[bytes, RequestHead]] = {}
    # llhttp takes several spaces for one, and other protocols' names for HTTP's.
    _first_line = re.compile(rb"(?:\r\n)*[!-~]+ [!-~\x80-\xff]+ HTTP/1\.[01]\r\n")

    def __init__(self, max_head_bytes: int) -> None:
        super().__init__(max_head_bytes, self._shared)

    def on_url(self, part: bytes) -> None:
        self._line += part

    def go_on(self) -> None:
        """What follows is HTTP: the switch was declined."""
        self.switched = False
        rest, self.rest = self.rest, b""
        self.feed(rest)

    def _fresh(self) -> HttpRequestParser:
        return HttpRequestParser(self)

    def _understood(self, line: bytes, headers: list[Header]) -> RequestHead:
        llhttp = self._llhttp
        method = llhttp.get_method()
        if method == b"CONNECT":
            raise Malformed("asks for a tunnel to elsewhere")
        return RequestHead(method, line, llhttp.get_http_version(), headers)


class AnswerParser(_Parser[AnswerHead]):
    """The answers of one connection to a runner; interim ones (1xx) are messages too.

    Attributes:
        rest: what follows 101.
    """

    _shared: ClassVar[dict[bytes, AnswerHead]] = {}
    _first_line = re.compile(rb"(?:\r\n)*HTTP/1\.[01] [0-9]{3}[ \r]")

    def __init__(self, max_head_bytes: int) -> None:
        super().__init__(max_head_bytes, self._shared)
        self._method = b""

    def expect(self, method: bytes) -> None:
        """Say which request is answered next."""
        if method is not self._method:
            self._method = method
            # What answers HEAD has no body, whatever its head says.
            self._heads = {} if method == b"HEAD" else self._shared

    def feed_eof(self) -> None:
        """The connection has ended, in the proper way."""
        message = self.open
        if message is not None and self._left < 0:
            self.passed_by()
        elif message is not None or not self.messages or self.messages[-1].head.interim:
            self._break(Malformed("ends too early"))

    def on_status(self, part: bytes) -> None:
        self._line += part

    def _fresh(self) -> HttpResponseParser:
        return HttpResponseParser(self)

    def _understood(self, line: bytes, headers: list[Header]) -> AnswerHead:
        llhttp = self._llhttp
        head = AnswerHead(llhttp.get_status_code(), line, llhttp.get_http_version(), headers, method=self._method)
        if head.status == SWITCHING and not llhttp.should_upgrade():
            raise Malformed("switches protocols without saying to which")
        return head
