"""Bytes -> messages. Pure: no sockets, no waiting.

Heads are read by `heads`; bodies are counted here, or decoded by `chunks`. A head that came before, byte for byte,
means what it meant then: it is looked up and not read again.

The parsers never raise: what can't be understood is in `broken`, and whatever was whole before it still counts.

The work is counted in steps. Once `steps` are used up, what is left stays in `held`, and the connection
gives the parser new ones in a later turn of the loop: what one connection sends never holds up the others.
"""

from __future__ import annotations

import re
from collections import deque
from typing import ClassVar, Generic

from orchd.http1.chunks import ChunkedBody
from orchd.http1.heads import END, AnswerHeads, HeadReader, RequestHeads
from orchd.http1.message import Head, Message
from orchd.http1.rules import AnswerHead, Malformed, RequestHead

STEPS = 1024
"""Most steps of one connection between two turns of the loop. A line of a chunked body is one step."""
HEAD_STEPS = 32
"""What it takes to read a head, apart from its length, and to begin to serve a request."""

_HEAD_BYTES_A_STEP = 16
"""How many bytes of a head count as one step: what is made of it may look at each byte."""

_EMPTY_LINES = re.compile(rb"(?:\r\n)*+")
_KNOWN_HEADS = 1024
_KNOWN_BYTES = 2048  # Of one head; longer ones hold tickets, which never come twice.
_SLICE_BYTES = 16 * 1024  # Of what is held: what follows a head is copied.


class MessageParser(Generic[Head]):
    """What the two directions have in common.

    Attributes:
        messages: in the order of the connection; they are taken off when they are done with.
        broken: why nothing can follow; None = something can.
        mid_head: bytes of a head have come, and it is not whole.
        open: the message whose body is under way.
        switched: what follows is not for us, or not yet.
        held: what came and was not looked at: it is not for us, the messages before it are not done with, or no steps
            are left.
        steps: how much may still be done; see above.
        surplus: bytes came after the last message that there can be.
    """

    _most_messages: int

    def __init__(self, max_head_bytes: int, reader: HeadReader[Head], heads: dict[bytes, Head]) -> None:
        self._reader: HeadReader[Head] = reader
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
        self._return = b""  # The first half of what may become an empty line before a head.

    def close(self) -> None:
        """Let go of llhttp, which refers back to us. No more may be fed."""
        self._reader.close()
        self.held.clear()

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the connection."""
        if self.open is None and not (self.mid_head or self._last or self.switched or self.messages or self.held):
            # The usual small message comes at once, under a head that came before. The steps below would do the same.
            end = data.find(END) + 4
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
        end = data.find(END) + 4
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
        """Skip empty lines, which some send after a body: they begin nothing (RFC 9112, section 2.2)."""
        if self._return:
            data, self._return = self._return + data, b""
        empty = _EMPTY_LINES.match(data)
        if empty is not None and empty.end():
            data = data[empty.end() :]
        if data == b"\r":
            data, self._return = b"", data
        return data

    def _read(self, data: bytes) -> tuple[Head | None, int]:
        """Read more of a head; return it if it is whole, and where what follows begins."""
        try:
            head, raw, end = self._reader.read(data)
        except Malformed as why:
            self._break(why)
            return None, len(data)
        finally:
            self.mid_head = self._reader.begun
        if head is not None and len(raw) <= _KNOWN_BYTES:
            if len(self._heads) >= _KNOWN_HEADS:
                self._heads.clear()
            self._heads[raw] = head
        return head, end

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


class RequestParser(MessageParser[RequestHead]):
    """One request at a time: what follows one is held until it is done with. What follows a request to switch protocols
    is held until somebody has decided: `decline`, or `take_held`.
    """

    _most_messages = 1
    _shared: ClassVar[dict[bytes, RequestHead]] = {}

    def __init__(self, max_head_bytes: int) -> None:
        super().__init__(max_head_bytes, RequestHeads(max_head_bytes), self._shared)

    def decline(self) -> None:
        """What follows is HTTP: the switch was declined."""
        self.switched = False


class AnswerParser(MessageParser[AnswerHead]):
    """The answers of one connection to a runner, one for each `expect`; interim ones (1xx) are messages too."""

    _shared: ClassVar[dict[bytes, AnswerHead]] = {}
    _most_messages = 64

    def __init__(self, max_head_bytes: int) -> None:
        self._answers = AnswerHeads(max_head_bytes)
        super().__init__(max_head_bytes, self._answers, self._shared)

    def expect(self, method: bytes) -> None:
        """Say which request is answered next."""
        self._last = False
        if method is not self._answers.method:
            self._answers.method = method
            # What answers HEAD has no body, whatever its head says.
            self._heads = {} if method == b"HEAD" else self._shared

    def feed_eof(self) -> None:
        """The connection has ended, in the proper way."""
        message = self.open
        if message is not None and self._left < 0:
            self.passed_by()
        elif message is not None or not self.messages or self.messages[-1].head.interim:
            self._break(Malformed("ends too early"))
