"""Bytes -> messages. Pure: no sockets, no waiting.

Heads are read by llhttp (httptools), and never anything else, so that it can't disagree with us about where a body
ends; bodies are counted or decoded here. A head that came before, byte for byte, means what it meant then: it is looked
up and not read again.

The parsers never raise: what can't be understood is in `broken`, and whatever was whole before it still counts.

The work is counted in steps. Once `steps` are used up, what is left stays in `held`, and whoever feeds the parser gives
it new ones in a later turn of the loop: what one connection sends never holds up the others.
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

STEPS = 1024
"""Of one connection, between two turns of the loop. A line of a chunked body is one step."""
HEAD_STEPS = 32
"""As long as to read a head takes, but for its length, and to begin to serve a request."""

MOST_FIELDS = 1000
"""In one head: many tiny ones are far more work, and memory, than their bytes."""
_HEAD_BYTES_A_STEP = 16
"""Of a head that came: what is made of it may look at each byte."""

_END = b"\r\n\r\n"
_EMPTY_LINES = re.compile(rb"(?:\r\n)*+")
_KNOWN_HEADS = 1024
_KNOWN_BYTES = 2048  # Of one head; longer ones hold tickets, which never come twice.
_SLICE_BYTES = 16 * 1024  # Of what is held: what follows a head is copied.
_MOST_PIECES = 64


class Message(Generic[Head]):
    """One message, from its head to its end.

    Attributes:
        pieces: of the body, those that nobody has taken yet.
        received: bytes of the body that came through the parser, taken or not.
        trailers: header fields behind a chunked body.
        ended: the message is whole.
    """

    __slots__ = ("_taken", "ended", "head", "pieces", "received", "trailers")

    def __init__(self, head: Head, body: bytes = b"", *, ended: bool = False) -> None:
        self.head: Head = head
        self.pieces: list[bytes | bytearray] = [body] if body else []
        self.received = len(body)
        self._taken = 0
        self.trailers: Sequence[Header] = ()
        self.ended = ended

    @property
    def waiting(self) -> int:
        """Bytes of the body that nobody has taken yet."""
        return self.received - self._taken

    def add(self, piece: bytes) -> None:
        """Append to the body. Small pieces are put together: each by itself takes far more memory than its bytes."""
        pieces = self.pieces
        self.received += len(piece)
        if len(pieces) < _MOST_PIECES:
            pieces.append(piece)
        elif isinstance(last := pieces[-1], bytearray):
            last += piece
        else:
            pieces.append(bytearray(piece))

    def take(self) -> bytes:
        """Return what has come of the body since the last call."""
        pieces = self.pieces
        self._taken = self.received
        if len(pieces) == 1:
            return pieces.pop()  # type: ignore[return-value] # Only behind many others there is a bytearray.
        whole = b"".join(pieces)
        pieces.clear()
        return whole

    def put_back(self, data: bytes) -> None:
        """What was taken, all of it, was of no use."""
        self.pieces[:] = [data] if data else []
        self._taken = self.received - len(data)


class _Parser(Generic[Head]):
    """Attributes:
    messages: in the order of the connection; whoever is done with one takes it off.
    broken: why nothing can follow; None = something can.
    mid_head: bytes of a head have come, and it is not whole.
    open: the message whose body is under way.
    switched: what follows is not for us, or not yet.
    held: what came and was not looked at: it is not for us, the messages before it are not done with, or no steps are
        left.
    steps: how much may still be done; see above.
    surplus: bytes came behind the last message that there can be.
    """

    _first_line: re.Pattern[bytes]
    _most_messages: int

    def __init__(self, max_head_bytes: int, heads: dict[bytes, Head]) -> None:
        self._heads: dict[bytes, Head] = heads
        self.messages: deque[Message[Head]] = deque()
        self.broken: Malformed | None = None
        self.mid_head = False
        self.switched = False
        self.surplus = False
        self.held: deque[bytes] = deque()
        self.steps = STEPS
        self._most = max_head_bytes
        self.open: Message[Head] | None = None
        self._left = 0  # Bytes to come of the body under way; -1 = until the connection ends.
        self._chunked: ChunkedBody | None = None
        self._last = False  # No message follows the one under way.
        self._llhttp: Any = self._fresh()
        self._raw = bytearray()  # Of the head under way,
        self._fed = 0  # and how much of it llhttp has got.
        self._fault: Malformed | None = None  # Of that head; maybe it can be mended once it is whole.
        self._return = b""  # The first half of what may become an empty line before a head.
        self._headers: list[Header] = []
        self._line = b""  # Target or reason.
        self._made: Head | None = None

    def close(self) -> None:
        """Let go of llhttp, which refers back to us. No more may be fed."""
        self._llhttp = None
        self.held.clear()

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the connection."""
        if self.open is None and not (self.mid_head or self._last or self.switched or self.messages or self.held):
            # The usual small message comes at once, under a head that came before. The steps below would do the same.
            end = data.find(_END) + 4
            head = self._heads.get(data[:end])
            if head is not None and head.plain_length == len(data) - end and end <= self._most:
                self._last = head.last
                self.messages.append(Message(head, data[end:], ended=True))
                return
        self.held.append(data)
        self.go_on()

    def go_on(self) -> None:
        """Understand what is held, as far as steps are left and there is room for messages."""
        held = self.held
        while held and self.steps > 0:
            if rest := self._understand(held.popleft()):
                held.appendleft(rest)
                return

    def take_held(self) -> bytes:
        """Return what is held: it is of another protocol."""
        rest = b"".join(self.held)
        self.held.clear()
        return rest

    def passed_by(self) -> None:
        """The body under way has ended; what was missing of it went another way than through the parser."""
        assert self.open is not None
        self._left = 0
        self.open.ended = True
        self.open = None

    def _understand(self, data: bytes) -> bytes:
        """Return what is to be held."""
        while data and self.steps > 0:
            message = self.open
            if message is not None:
                data = self._body(message, data)
            elif self._last:
                self.surplus = True
                return b""
            elif self.switched or len(self.messages) >= self._most_messages:
                return data
            elif len(data) > _SLICE_BYTES:
                self.held.appendleft(data[_SLICE_BYTES:])
                data = data[:_SLICE_BYTES]
            else:
                data = self._head(data)
        return data

    # Heads.

    def _head(self, data: bytes) -> bytes:
        """Read a head, or more of it, and begin its message; return what is not yet read."""
        self.steps -= 1
        head = None
        if not self.mid_head and not (data := self._behind_empty_lines(data)):
            return b""
        end = data.find(_END) + 4
        if 4 <= end <= self._most and not self.mid_head:
            head = self._heads.get(data[:end])
        if head is None:
            head, end = self._read(data)
        rest = data[end:]
        if head is None:
            return rest
        self.steps -= HEAD_STEPS + end // _HEAD_BYTES_A_STEP
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

    def _behind_empty_lines(self, data: bytes) -> bytes:
        """Some send empty lines behind a body. They are not the beginning of anything (RFC 9112, section 2.2)."""
        if self._return:
            data, self._return = self._return + data, b""
        empty = _EMPTY_LINES.match(data)
        if empty is not None and empty.end():
            data = data[empty.end() :]
        if data == b"\r":
            data, self._return = b"", data
        return data

    def _read(self, data: bytes) -> tuple[Head | None, int]:
        """Have llhttp read what `data` has of a head; return the head if it is whole, and where what follows begins.

        llhttp gets whole lines, since it would copy what it has of a line for each new piece of it. Only what comes
        first it gets at once: what is not HTTP at all may never have a line's end.
        """
        raw = self._raw
        tail = bytes(raw[-3:])
        end = (tail + data).find(_END) + 4 - len(tail)
        whole = end + len(tail) >= 4
        if not whole:
            end = len(data)
        piece = data[:end]
        known = len(raw)
        raw += piece
        if len(raw) > self._most:
            self._break(Malformed(f"has more than {self._most // 1024} KiB of head", 431))
            return None, len(data)
        lines_end = piece.rfind(b"\n") + 1
        upto = len(raw) if whole or not known else known + lines_end if lines_end else self._fed
        if upto > self._fed and not self._let_read(bytes(raw[self._fed : upto])):
            return None, len(data)
        self._fed = upto
        self.mid_head = not whole
        if not whole:
            return None, end
        return self._whole(bytes(raw)), end if self.broken is None else len(data)

    def _whole(self, raw: bytes) -> Head | None:
        if self._fault is not None and not self._let_read_mended(raw):
            return None
        self._raw, self._fed, self._fault = bytearray(), 0, None
        head, self._made = self._made, None
        if head is not None:
            self._llhttp = self._fresh()
            if not self._first_line.match(raw):
                self._break(Malformed("has a first line that is not as it should be"))
                return None
            if len(raw) <= _KNOWN_BYTES:
                if len(self._heads) >= _KNOWN_HEADS:
                    self._heads.clear()
                self._heads[raw] = head
        return head

    def _let_read(self, lines: bytes) -> bool:
        """Give llhttp this; False = that broke the parser."""
        if self._fault is not None:
            # The end of a line may have come in two pieces.
            half = b"\r" if self._raw[self._fed - 1 : self._fed] == b"\r" else b""
            if not self._may_be_mended(half + lines):
                self._break(self._fault)
            return self.broken is None
        try:
            self._llhttp.feed_data(lines)
        except HttpParserUpgrade:
            pass  # It stops there anyway.
        except HttpParserCallbackError:
            if self.broken is None:
                raise
            return False
        except HttpParserError as exc:
            fault = Malformed(f"is not HTTP/1.1 ({str(exc)[:60]})")
            if not (_LENGTH_NAME.search(self._raw) and self._may_be_mended(self._raw)):
                self._break(fault)
                return False
            self._fault = fault
        return True

    def _let_read_mended(self, raw: bytes) -> bool:
        fault, self._fault = self._fault, None
        assert fault is not None
        mended = self._mended(raw)
        self._llhttp, self._headers, self._line = self._fresh(), [], b""
        if mended is None:
            self._break(fault)
            return False
        return self._let_read(mended) and self.broken is None

    def on_header(self, name: bytes, value: bytes) -> None:
        if len(self._headers) >= MOST_FIELDS:
            why = Malformed(f"has more than {MOST_FIELDS} header fields", 431)
            self._break(why)
            raise why
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
        """Take what belongs to the body; return what follows it, or what no steps are left for."""
        chunked = self._chunked
        if chunked is not None:
            try:
                at, self.steps = chunked.feed(data, message.add, self.steps)
            except Malformed as why:
                return self._break(why)
            if chunked.ended:
                message.trailers = chunked.trailers
                self._chunked = None
                self.passed_by()
            return data[at:]
        left, size = self._left, len(data)
        if left < 0 or size < left:
            message.add(data)
            if left > 0:
                self._left = left - size
            return b""
        message.add(data if size == left else data[:left])
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

    def _may_be_mended(self, raw: bytes | bytearray) -> bool:
        """Return whether, after these lines of it, it is worth waiting for the rest of a head that llhttp refuses."""
        return False

    def _mended(self, raw: bytes) -> bytes | None:
        """Return a whole head, without what llhttp refuses and RFC 9112 allows; None = there is no such thing."""
        return None


class RequestParser(_Parser[RequestHead]):
    """One request at a time: what follows one is held until it is done with. What follows a request to switch protocols
    is held until somebody has decided: `decline`, or `take_held`.
    """

    _most_messages = 1
    _shared: ClassVar[dict[bytes, RequestHead]] = {}
    # llhttp takes several spaces for one, and other protocols' names for HTTP's.
    _first_line = re.compile(rb"[!-~]+ [!-~\x80-\xff]+ HTTP/1\.[01]\r\n")

    def __init__(self, max_head_bytes: int) -> None:
        super().__init__(max_head_bytes, self._shared)

    def on_url(self, part: bytes) -> None:
        self._line += part

    def decline(self) -> None:
        """What follows is HTTP: the switch was declined."""
        self.switched = False

    def _fresh(self) -> HttpRequestParser:
        return HttpRequestParser(self)

    def _understood(self, line: bytes, headers: list[Header]) -> RequestHead:
        llhttp = self._llhttp
        method = llhttp.get_method()
        if method == b"CONNECT":
            raise Malformed("asks for a tunnel to elsewhere")
        return RequestHead(method, line, llhttp.get_http_version(), headers)


class AnswerParser(_Parser[AnswerHead]):
    """The answers of one connection to a runner, one for each `expect`; interim ones (1xx) are messages too."""

    _shared: ClassVar[dict[bytes, AnswerHead]] = {}
    _most_messages = 64
    _first_line = re.compile(rb"HTTP/1\.[01] [0-9]{3}[ \r]")

    def __init__(self, max_head_bytes: int) -> None:
        super().__init__(max_head_bytes, self._shared)
        self._method = b""

    def expect(self, method: bytes) -> None:
        """Say which request is answered next."""
        self._last = False
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

    def _may_be_mended(self, raw: bytes | bytearray) -> bool:
        return raw.count(b"\n") == raw.count(b"\r\n")

    def _mended(self, raw: bytes) -> bytes | None:
        return with_one_length(raw)

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


_LENGTH_NAME = re.compile(rb"\r\n(?i:content-length):")


def with_one_length(raw: bytes) -> bytes | None:
    """Return the head of an answer in which the same length, given several times, is given once (RFC 9112, section
    6.3); None = that is not what is wrong with it.
    """
    kept: list[bytes] = []
    lengths: list[bytes] = []
    for line in raw.split(b"\r\n"):
        if line[:1] in (b" ", b"\t") or b"\n" in line or b"\r" in line:
            return None
        name, _, value = line.partition(b":")
        if name.lower() != b"content-length":
            kept.append(line)
            continue
        if not lengths:
            kept.append(line)
        lengths += [member.strip(b" \t") for member in value.split(b",")]
    if len(lengths) < 2 or len(set(lengths)) > 1 or not lengths[0].isdigit() or len(lengths[0]) > 18:
        return None
    return b"\r\n".join(
        b"Content-Length: " + lengths[0] if line[:15].lower() == b"content-length:" else line for line in kept
    )
