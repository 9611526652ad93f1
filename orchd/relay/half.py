"""EDGE. Half of an exchange: one message's bytes, from one connection to the other, with back-pressure.

An exchange has two: the request goes up, the answer comes down. Both are this class; what is special to a direction
(what follows its end, what it means that one side breaks) is the exchange's.

Back-pressure, without a queue: `sink.paused` is true from a write that the socket did not take whole until all of it is
out. While it is true nothing is pushed and nothing more is read from `source`, so that at most one read is in memory,
and the other end's TCP window closes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from orchd.http1 import render
from orchd.http1.message import Message
from orchd.http1.names import Header
from orchd.relay.ports import EventStream, LineTooLong, Owner, TooMuch
from orchd.relay.splice import WORTH_BYTES, Pipes, Splice, available
from orchd.relay.wire import Wire

TrailerFilter = Callable[[Any, Sequence[Header]], list[Header]]
"""From a message's head and its trailers to those that may pass."""


class Half:
    """One direction of an exchange.

    Args:
        owner: is told of each byte that moved, and that the body is too long.
        trailers: says which trailers pass.

    Attributes:
        source, sink: the connections from which and to which the bytes move.
        message: whose body it is; of an answer, it is set once its head has come.
        open: more of the message is to be moved.
        chunked: the body goes out in chunks.
        limit: most bytes of the body; 0 = no limit.
        events: watches an event stream, and says what is to follow it; None = it is not one.
        moved: bytes of the body that were moved, without their framing.
        splice: what moves the bytes in the kernel now; None = they are copied.
    """

    __slots__ = (
        "_owner", "_trailers", "chunked", "events", "limit", "message", "moved", "open", "sink", "source", "splice",
    )  # fmt: skip

    message: Message[Any]
    events: EventStream | None
    splice: Splice | None

    def __init__(self, owner: Owner, source: Wire, sink: Wire, trailers: TrailerFilter, limit: int = 0) -> None:
        self._owner = owner
        self._trailers = trailers
        self.source = source
        self.sink = sink
        self.open = True
        self.chunked = False
        self.limit = limit
        self.moved = 0
        self.events = self.splice = None

    @property
    def blocked(self) -> bool:
        """Whether it is the receiver that holds things up."""
        splice = self.splice
        return self.sink.paused if splice is None else splice.waits_for_sink

    def push(self, head: bytes = b"") -> bool:
        """Write `head`, and what there is of the body after it, and the body's end if that has come.

        `open` says afterwards whether more is to follow. Return False if that has ended the job: the body, or a line of
        events, is too long.
        """
        message = self.message
        data = message.take() if message.pieces else b""
        if data:
            self.moved += len(data)
            if self.limit and self.moved > self.limit:
                self._owner.fail(TooMuch())
                return False
            if not head:  # With a head, somebody else begins to be waited for, which sets the deadline.
                self._owner.moved()
            if self.events is not None:
                passed = self.events.passes(data)
                if passed is None:
                    self._owner.fail(LineTooLong())
                    return False
                data = passed
            if self.chunked and data:  # An empty chunk would be the last one.
                data = render.chunk(data)
        ended = message.ended
        if ended:
            # Before the write: that may find the sink full, which is told to the exchange before `write` returns.
            self.open = False
            if self.chunked or self.events is not None:
                data += self._ending()
        if head:
            data = head + data
        if data:
            self.sink.write(data, whole=ended)
        return True

    def _ending(self) -> bytes:
        """Return what follows the last byte of the body."""
        message, ending = self.message, b""
        if self.events is not None and (ending := self.events.ending()) and self.chunked:
            ending = render.chunk(ending)
        if not self.chunked:
            return ending
        if not message.trailers:
            return ending + render.LAST_CHUNK
        return ending + render.last_chunk(self._trailers(message.head, message.trailers))

    def pass_raw(self, data: bytes) -> None:
        """Write bytes as they are: they belong to another protocol."""
        self.moved += len(data)
        self._owner.moved()
        self.sink.write(data)
        if self.sink.paused:
            self.source.set_reading(False)

    # In the kernel.

    def by_splice(
        self, pipes: Pipes, blocked: Callable[[], None], done: Callable[[Half, Exception | None], None]
    ) -> bool:
        """Have the kernel move the rest of the body, if that is of use and can be done; return whether it does.

        Both callbacks may come before this returns: see `Splice.start`.
        """
        source, sink, message = self.source, self.sink, self.message
        left = (message.head.length or 0) - message.received
        if left < WORTH_BYTES or self.chunked or self.events is not None or source.parser.held:
            return False
        if not available or not (source.plain and sink.plain):
            return False
        try:
            ends = source.socket().fileno(), sink.socket().fileno()
            splice = Splice(pipes, *ends, left, moved=self._passed, blocked=blocked, done=lambda why: done(self, why))
        except OSError:  # No descriptors are left: copying needs none.
            return False
        self.splice = splice
        source.bypassed = True
        splice.start()
        return True

    def _passed(self, size: int) -> None:
        self.moved += size
        self.sink.sent += size
        self._owner.moved()

    def spliced_whole(self) -> None:
        """The kernel has moved the rest of the body: the parser need not wait for it."""
        self.splice = None
        self.source.parser.passed_by()
        self.source.bypassed = False
        self.open = False

    def stop_splice(self) -> bool:
        """Stop moving bytes in the kernel, for good; return whether it did so."""
        if self.splice is None:
            return False
        self.splice.stop()
        self.splice = None
        return True
