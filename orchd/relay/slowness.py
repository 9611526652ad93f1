"""Which side of a caller's connection is slow: no event tells that, so it is checked once a second."""

from __future__ import annotations

from orchd.http1.message import Message
from orchd.http1.rules import RequestHead
from orchd.relay.pace import BodyPace, is_paced
from orchd.relay.settings import RelaySettings
from orchd.relay.sides import CallerExchange
from orchd.relay.wire import Wire


class Slowness:
    """Of one connection. It remembers what it saw a second ago.

    Attributes:
        pace: of the body under way; None = it has not been checked yet. The connection clears it after each body.
    """

    __slots__ = ("_settings", "_taken", "pace")

    def __init__(self, settings: RelaySettings) -> None:
        self._settings = settings
        self.pace: BodyPace | None = None
        self._taken: tuple[Wire, int | None] | None = None  # The side that is to take bytes, and how many it had taken.

    def skip(self, seconds: float) -> None:
        """Don't count this much of the time since the last look."""
        if self.pace is not None:
            self.pace.skip(seconds)

    def of_body(
        self, now: float, message: Message[RequestHead], exchange: CallerExchange | None, *, collects: bool
    ) -> str:
        """Return why the caller sends its body too slowly; empty = it does not.

        Args:
            collects: the body is waited for although there is no exchange yet.
        """
        settings = self._settings
        if not (settings.min_body_rate or settings.body_timeout_s) or not is_paced(message.head.value(b"content-type")):
            return ""
        waits = collects if exchange is None else exchange.waits_for_body
        if self.pace is None:
            self.pace = BodyPace(now, waits=waits)
        # What was spliced did not come through the parser; what waits in it was not moved.
        received = max(message.received, 0 if exchange is None else exchange.bytes_in)
        return self.pace.look(now, received, settings, waits=waits)

    def takes_bytes(self, taker: Wire | None) -> bool:
        """Return whether the side that is to take bytes has taken some since the last call: then it is not late.

        `paused` alone does not tell: it stays true until the last of what was written is out.

        Args:
            taker: the connection whose peer is to take bytes; None = there is none.
        """
        if taker is None or taker.closed:
            self._taken = None
            return False
        before, taken = self._taken, taker.taken()
        self._taken = taker, taken
        if before is None or before[0] is not taker or taken is None or before[1] is None:
            return False  # It could not be compared.
        return taken > before[1]
