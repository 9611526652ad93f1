"""EDGE. An answer of our own that comes in pieces, or takes a body in pieces, on the caller's connection.

As in an exchange, nothing is queued and nothing runs: a step is taken when the connection moves, or in the turn after
`wake`, which the giver of the pieces calls from inside calls of others. While the caller takes no more, the source is
not asked; while the sink has no room, the piece that it has not taken is kept, and nothing more is read.

Every call of the owner may end the request before it returns: design.md, "Re-entrancy".
"""

from __future__ import annotations

from orchd.errors import Code, JobRefused
from orchd.http1 import render
from orchd.relay.caller import CallerConnection
from orchd.relay.ports import OwnBegin, Owner, OwnHead, OwnMark, OwnSink, OwnSource
from orchd.relay.wire import Wire

TURN_BYTES = 256 * 1024
"""Most bytes that go out on one connection in one turn of the loop."""
CALLER_STALLED, IDLE = Code.CALLER_STALLED, Code.BACKEND_STALLED
"""Which timeout runs: the caller takes nothing; or nothing is to be done, by whichever side."""


class OwnExchange:
    """After `relay.ports.OwnTransfer` and `sides.CallerExchange`: a request and its answer, whichever of them is long.

    Args:
        begin: gives the answer, the source of its pieces, or the sink for the body's.

    Attributes:
        bytes_in: of the body that were taken.
    """

    __slots__ = ("_begin", "_caller", "_kept", "_over", "_owner", "_sink", "_source", "_woken", "bytes_in", "status")

    waits_for_body = False  # How long a caller takes over its body is not our business: media come as they are made.

    def __init__(self, owner: Owner, caller: CallerConnection, begin: OwnBegin) -> None:
        self._owner = owner
        self._caller = caller
        self._begin = begin
        self._source: OwnSource | None = None
        self._sink: OwnSink | None = None
        self._kept = b""  # What the sink had no room for.
        self._woken = self._over = False
        self.bytes_in = self.status = 0
        caller.exchange = self

    def start(self) -> None:
        """Begin with what there is."""
        caller = self._caller
        found = self._begin(self.wake)
        if isinstance(found, OwnHead):
            return self._answer(found)
        if isinstance(found, OwnSink):
            self._sink = found
            caller.bulk = True
            caller.proceed()
        else:
            self._source = found
        caller.choose_reading()
        return self._go_on()

    def stop(self) -> None:
        """Let go of both sides. A repeat changes nothing."""
        self._over = True
        for side in (self._source, self._sink):
            if side is not None:
                side.leave()
        self._source = self._sink = None

    def wake(self) -> None:
        """There may be something to do. It is done in the loop's next turn, once for any number of calls."""
        if not self._woken:
            self._woken = True
            self._caller.soon(self._wake)

    def _wake(self) -> None:
        self._woken = False
        self._go_on()

    def _go_on(self) -> None:
        if self._over:
            return None
        if self._sink is not None:
            return self._take_up(self._sink)
        if self._source is not None and not self._caller.paused:
            return self._push_down(self._source)
        return self._owner.wait_for(CALLER_STALLED)

    # The request, up.

    def _take_up(self, sink: OwnSink) -> None:
        message = self._caller.message
        while piece := self._kept or message.take():
            took = sink.take(piece)
            if isinstance(took, OwnHead):
                return self._answer(took)
            self._kept = b"" if took else piece
            if self._kept:
                return self._caller.choose_reading()
            self.bytes_in += len(piece)
        if message.ended:
            return self._answer(sink.end())
        if (early := sink.early()) is not None:
            return self._answer(early)
        return self._caller.choose_reading()

    def _answer(self, head: OwnHead) -> None:
        """Send an answer that is whole; the end."""
        self._over = True
        self.status = head.status
        if head.last:
            self._caller.no_more_requests()
        self._caller.answer(head.status, list(head.headers), head.body or b"")
        return self._owner.deliver(None)

    # The answer, down.

    def _push_down(self, source: OwnSource) -> None:
        """Send what there is, so much in one turn that others have theirs."""
        caller = self._caller
        chunked = caller.message.head.modern
        out: list[bytes] = []
        size = 0
        mark: OwnMark | None = None
        while mark is None and size < TURN_BYTES:
            match source.step(TURN_BYTES - size):
                case OwnMark() as mark:
                    pass
                case OwnHead(body=None) as head:
                    self.status = head.status
                    out.append(caller.own_start(head.status, head.headers))
                    if caller.message.head.method == b"HEAD":
                        return self._end(b"".join(out))
                case OwnHead() as head:
                    return self._answer(head)
                case piece:
                    size += len(piece)
                    out.append(render.chunk(piece) if chunked else piece)
        if mark is OwnMark.CUT:
            return self._owner.fail(JobRefused(CALLER_STALLED, "cannot go on: the rest of the answer is lost"))
        if mark is OwnMark.END:
            return self._end(b"".join([*out, render.LAST_CHUNK] if chunked else out))
        if mark is None:
            self.wake()
        if out:
            caller.write(b"".join(out))
            self._owner.moved()
        return self._owner.wait_for(CALLER_STALLED if caller.paused else IDLE)

    def _end(self, rest: bytes) -> None:
        """Send the last bytes; the request is served once the caller's kernel has them."""
        self._over = True
        self._caller.write(rest, whole=True)
        return self._owner.wait_for(CALLER_STALLED) if self._caller.paused else self._owner.deliver(None)

    # What the connection tells and asks; after `sides.CallerExchange`.

    @property
    def taker(self) -> Wire | None:
        """The connection whose other end must take bytes before anything goes on; None = neither."""
        return self._caller if self._caller.paused else None

    def wants_body(self) -> bool:
        """More of the request's body can be used now."""
        return self._sink is not None and not self._over and not self._kept

    def upload_changed(self) -> None:
        """Body came, or the request ended."""
        if self._sink is not None:
            self._go_on()

    def download_changed(self) -> None:
        """The caller takes bytes (no more, again)."""
        if self._caller.paused:
            return None
        return self._owner.deliver(None) if self._over else self._go_on()
