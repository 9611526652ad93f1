"""EDGE. After 101 Switching Protocols: bytes pass as they are, and each direction ends by itself.

A tunnel takes the place of its exchange on both connections. What comes there is not HTTP any more.
"""

from __future__ import annotations

from collections.abc import Callable

from orchd.errors import Code
from orchd.relay.caller import CallerConnection
from orchd.relay.half import Half
from orchd.relay.ports import Owner, RunnerBroke
from orchd.relay.runner import RunnerConnection
from orchd.relay.wire import Wire

BACKEND_STALLED, CALLER_STALLED = Code.BACKEND_STALLED, Code.CALLER_STALLED


class Tunnel:
    """As `caller.CallerTunnel` and `runner.RunnerTunnel`.

    Args:
        up, down: of the exchange; they go on counting.
        stop: lets go of both connections.
    """

    __slots__ = ("_down", "_owner", "_stop", "_up")

    reads_runner = False
    waits_for_body = False

    def __init__(self, owner: Owner, up: Half, down: Half, stop: Callable[[], None]) -> None:
        self._owner = owner
        self._up = up
        self._down = down
        self._stop = stop
        up.open = True  # The request was whole; the caller's side of the tunnel is open.
        up.source.bulk = down.source.bulk = True

    def begin(self, caller: CallerConnection, runner: RunnerConnection, head: bytes) -> None:
        """Take the exchange's place on both connections, and send the caller the head of the runner's answer."""
        rest = runner.switch(self)
        self._down.moved += len(rest)
        caller.switch(self, head + rest)
        self.tell_late()

    @property
    def bytes_in(self) -> int:
        return self._up.moved

    # The caller's end.

    def caller_said(self, data: bytes) -> None:
        self._up.pass_raw(data)
        self.tell_late()

    def caller_finished(self) -> None:
        self._up.open = False
        if not self._up.sink.write_eof():
            self._down.open = False  # TLS can't be closed by halves.
        self._end_if_both_have()

    def download_changed(self) -> None:
        """The caller takes bytes (no more, again)."""
        if not self._down.open:
            return self._end_if_both_have()
        self._down.source.set_reading(not self._down.sink.paused)
        return self.tell_late()

    def wants_body(self) -> bool:
        return not self._up.sink.paused

    # The runner's end.

    def runner_said(self, data: bytes) -> None:
        self._down.pass_raw(data)
        self.tell_late()

    def runner_finished(self) -> None:
        self._down.open = False
        if not self._down.sink.write_eof():
            self._up.open = False  # As above.
        self._end_if_both_have()

    def upload_changed(self) -> None:
        """The runner takes bytes (no more, again)."""
        self._up.source.set_reading(not self._up.sink.paused)
        self.tell_late()

    def runner_lost(self, *, proper: bool) -> None:
        if self._down.open:
            self._owner.fail(RunnerBroke("reset the connection"))
        elif self._up.open:
            self._up.open = False
            self._end_if_both_have()

    def runner_moved(self) -> None:
        """Nothing is parsed any more."""

    def crashed(self, why: Exception) -> None:
        """A bug of ours came up while bytes were looked at."""
        self._owner.fail(why)

    # Both.

    def _end_if_both_have(self) -> None:
        if not self._up.open and not self._down.open and not self._down.sink.paused:
            self._stop()
            self._owner.deliver(None)

    def tell_late(self) -> None:
        """Tell the job which timeout runs now."""
        self._owner.wait_for(CALLER_STALLED if self._down.sink.paused else BACKEND_STALLED)

    @property
    def taker(self) -> Wire | None:
        """The connection whose other end must take bytes before anything goes on; None = neither."""
        if self._down.sink.paused:
            return self._down.sink
        return self._up.sink if self._up.open and self._up.sink.paused else None
