"""Tells the node of its sessions that orchd has ended, or could not take.

The node cuts all that is in flight in a session the moment that it ends (docs/protocol/livepeer-node.md, 8.2). So it is
told once our last answer in the session has gone out and had time to pass.
"""

from __future__ import annotations

import asyncio

from orchd.domain.ids import ModelKey
from orchd.domain.signal import Signal
from orchd.realtime.over import NamesOver
from orchd.realtime.stream import Stream

ANSWER_S = 1.0
"""Seconds from the last byte of our last answer in a session until the node is told to end it."""
MOST_TOLD = 20
"""Most sessions of one answer of the node that it is told again to end, or that can't be taken; then the next answer
is waited for. A node that lists thousands, of which no slot is ours, is not asked thousands of things at once."""
TOLD_S = 20.0
"""Seconds after which the node, if it still lists a session that it was told to end, is told again."""


class NodeEnds:
    """Sessions that the node is to end.

    Attributes:
        names: those of which the node has not said that they are over.
        told: emitted for each when the node is to be told.
    """

    def __init__(self) -> None:
        self.names = NamesOver()
        self.told: Signal[ModelKey, str] = Signal()
        self._waiting: set[Stream] = set()
        self._timers: set[asyncio.TimerHandle] = set()

    def close(self) -> None:
        """Tell nobody any more."""
        for timer in self._timers:
            timer.cancel()

    def end(self, stream: Stream, *, after_riders: bool) -> None:
        """Have the session of a stream ended.

        Args:
            after_riders: the requests in it are being cut, and answered.
        """
        self.names.note(stream.key, stream.id, _now())
        if stream.riders and after_riders:
            self._waiting.add(stream)
        else:
            self.tell(stream.key, stream.id)

    def request_ended(self, stream: Stream) -> None:
        """A request in its session is over."""
        if not stream.riders and stream in self._waiting:
            self._waiting.discard(stream)
            self.tell(stream.key, stream.id)

    def tell(self, key: ModelKey, session: str) -> None:
        """Have a session ended in which no request is under way."""
        self.names.note(key, session, _now())

        def tell() -> None:
            self._timers.discard(timer)
            self.told.emit(key, session)

        timer = asyncio.get_running_loop().call_later(ANSWER_S, tell)
        self._timers.add(timer)

    def is_due(self, key: ModelKey, session: str, asked_at: float) -> bool:
        """Return whether a session, which is one that the node is to end and has listed, is to be told again."""
        return asked_at - self.names.at(key, session) > TOLD_S

    def not_listed(self, key: ModelKey, sessions: frozenset[str], asked_at: float) -> None:
        """The node has listed these sessions of a model and no others."""
        for of, session in list(self.names):
            if of == key and session not in sessions and self.names.at(key, session) < asked_at:
                self.names.forget(key, session)


def _now() -> float:
    return asyncio.get_running_loop().time()
