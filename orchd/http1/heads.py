"""Reads heads by llhttp (httptools). Pure: no sockets, no waiting.

llhttp reads heads and never anything else, so that it can't disagree with us about where a body ends.
"""

from __future__ import annotations

import re
from typing import Any, Generic

from httptools import HttpParserCallbackError, HttpParserError, HttpParserUpgrade, HttpRequestParser, HttpResponseParser

from orchd.http1.mending import LENGTH_NAME, with_one_length
from orchd.http1.message import Head
from orchd.http1.names import Header
from orchd.http1.rules import SWITCHING, AnswerHead, Malformed, RequestHead

MOST_FIELDS = 1000
"""In one head: many tiny ones are far more work, and memory, than their bytes."""

END = b"\r\n\r\n"


class HeadReader(Generic[Head]):
    """The heads of one connection, one after the other; pieces are given as they come.

    How: llhttp calls `on_header` for each field and `on_headers_complete` at the end, from inside `feed_data`. What is
    wrong is raised there; httptools wraps that, so that it is kept in `_wrong` and raised again outside.

    Attributes:
        begun: bytes of a head have come, and it is not whole.
        raw: of the head under way.
    """

    _first_line: re.Pattern[bytes]

    def __init__(self, max_head_bytes: int) -> None:
        self._most = max_head_bytes
        self._llhttp: Any = self._fresh()
        self.begun = False
        self.raw = bytearray()
        self._fed = 0  # How much of that llhttp has got.
        self._fault: Malformed | None = None  # Of that head; maybe it can be mended once it is whole.
        self._wrong: Malformed | None = None  # What a callback has raised.
        self._headers: list[Header] = []
        self._line = b""  # Target or reason.
        self._made: Head | None = None

    def close(self) -> None:
        """Let go of llhttp, which refers back to us. Nothing may be read any more."""
        self._llhttp = None

    def read(self, data: bytes) -> tuple[Head | None, bytes, int]:
        """Read what `data` has of a head. Return the head and its bytes, if it is whole, and where what follows begins.

        llhttp gets whole lines, since it would copy what it has of a line for each new piece of it. Only what comes
        first it gets at once: what is not HTTP at all may never have a line's end.

        Raises:
            Malformed: it is not a head; nothing can follow.
        """
        raw = self.raw
        # The end of a head may have come in two pieces: the last three bytes are looked at again.
        tail = bytes(raw[-3:])
        end = (tail + data).find(END) + 4 - len(tail)
        whole = end + len(tail) >= 4  # `find` gives -1 for nothing.
        if not whole:
            end = len(data)
        piece = data[:end]
        known = len(raw)
        raw += piece
        if len(raw) > self._most:
            raise Malformed(f"has more than {self._most // 1024} KiB of head", 431)
        lines_end = piece.rfind(b"\n") + 1
        upto = len(raw) if whole or not known else known + lines_end if lines_end else self._fed
        if upto > self._fed:
            self._feed(bytes(raw[self._fed : upto]))
        self._fed = upto
        self.begun = not whole
        if not whole:
            return None, b"", end
        return self._whole(bytes(raw)), bytes(raw), end

    def _whole(self, raw: bytes) -> Head | None:
        if self._fault is not None:
            self._feed_mended(raw)
        self.raw, self._fed, self._fault = bytearray(), 0, None
        head, self._made = self._made, None
        if head is not None:
            self._llhttp = self._fresh()
            if not self._first_line.match(raw):
                raise Malformed("has a first line that is not as it should be")
        return head

    def _feed(self, lines: bytes) -> None:
        """Give llhttp whole lines."""
        if self._fault is not None:
            # The end of a line may have come in two pieces.
            half = b"\r" if self.raw[self._fed - 1 : self._fed] == b"\r" else b""
            if not self._may_be_mended(half + lines):
                raise self._fault
            return
        try:
            self._llhttp.feed_data(lines)
        except HttpParserUpgrade:
            pass  # It stops there anyway.
        except HttpParserCallbackError:
            if self._wrong is None:
                raise
            raise self._wrong from None
        except HttpParserError as exc:
            fault = Malformed(f"is not HTTP/1.1 ({str(exc)[:60]})")
            if not (LENGTH_NAME.search(self.raw) and self._may_be_mended(self.raw)):
                raise fault from None
            self._fault = fault

    def _feed_mended(self, raw: bytes) -> None:
        """Begin again with a whole head that llhttp has refused."""
        fault, self._fault = self._fault, None
        assert fault is not None
        mended = self._mended(raw)
        self._llhttp, self._headers, self._line = self._fresh(), [], b""
        if mended is None:
            raise fault
        self._feed(mended)

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self._headers) >= MOST_FIELDS:
            self._wrong = Malformed(f"has more than {MOST_FIELDS} header fields", 431)
            raise self._wrong
        self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        headers, self._headers = self._headers, []
        line, self._line = self._line, b""
        try:
            self._made = self._understood(line, headers)
        except Malformed as why:
            self._wrong = why
            raise

    # What requests and answers differ in.

    def _fresh(self) -> HttpRequestParser | HttpResponseParser:
        raise NotImplementedError

    def _understood(self, line: bytes, headers: list[Header]) -> Head:
        """Return what a head means.

        Raises:
            Malformed.
        """
        raise NotImplementedError

    def _may_be_mended(self, raw: bytes | bytearray) -> bool:
        """Return whether, after these lines of it, it is worth waiting for the rest of a head that llhttp refuses."""
        return False

    def _mended(self, raw: bytes) -> bytes | None:
        """Return a whole head, without what llhttp refuses and RFC 9112 allows; None = there is no such thing."""
        return None


class RequestHeads(HeadReader[RequestHead]):
    """Heads of requests."""

    # llhttp takes several spaces for one, and other protocols' names for HTTP's.
    _first_line = re.compile(rb"[!-~]+ [!-~\x80-\xff]+ HTTP/1\.[01]\r\n")

    def on_url(self, part: bytes) -> None:
        self._line += part

    def _fresh(self) -> HttpRequestParser:
        return HttpRequestParser(self)

    def _understood(self, line: bytes, headers: list[Header]) -> RequestHead:
        llhttp = self._llhttp
        method = llhttp.get_method()
        if method == b"CONNECT":
            raise Malformed("asks for a tunnel to elsewhere")
        return RequestHead(method, line, llhttp.get_http_version(), headers)


class AnswerHeads(HeadReader[AnswerHead]):
    """Heads of answers.

    Attributes:
        method: of the request that is answered: what answers HEAD has no body, whatever its head says.
    """

    _first_line = re.compile(rb"HTTP/1\.[01] [0-9]{3}[ \r]")

    def __init__(self, max_head_bytes: int) -> None:
        super().__init__(max_head_bytes)
        self.method = b""

    def on_status(self, part: bytes) -> None:
        self._line += part

    def _fresh(self) -> HttpResponseParser:
        return HttpResponseParser(self)

    def _understood(self, line: bytes, headers: list[Header]) -> AnswerHead:
        llhttp = self._llhttp
        head = AnswerHead(llhttp.get_status_code(), line, llhttp.get_http_version(), headers, method=self.method)
        if head.status == SWITCHING and not llhttp.should_upgrade():
            raise Malformed("switches protocols without saying to which")
        return head

    def _may_be_mended(self, raw: bytes | bytearray) -> bool:
        return raw.count(b"\n") == raw.count(b"\r\n")

    def _mended(self, raw: bytes) -> bytes | None:
        return with_one_length(raw)
