"""Streams that run on runners which are not open yet: an earlier orchd has left them, or a container says it is busy.

Each counts as a session from the start (`SessionTable.expect`). It is a stream again when its runner opens, and is
given up when the runner does not come back.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.origins import Origin
from orchd.errors import Code, JobRefused
from orchd.hooks.account import Account
from orchd.sessions.session import Session, SessionKind
from orchd.sessions.slots import QueuePlace
from orchd.sessions.table import SessionTable

RECOVER_S = 180.0
"""Longest wait for the runner of a stream that an earlier orchd left; a container that loads again has lost it."""
LOOKED_S = 30.0
"""After this long every runner that there is has been seen."""


class ExpectedStream(NamedTuple):
    """What is known of a stream until its runner is open.

    Attributes:
        began_at: loop clock, seconds; `began_date` is the same as Unix time.
        account: who pays for it; None = nobody is known to.
        started: its container was asked to start it.
    """

    runner: RunnerId
    name: str
    origin: Origin
    began_at: float
    began_date: float
    account: Account | None = None
    started: bool = True


class ExpectedStreams:
    """Those that are waited for.

    Args:
        take: called with the session when the runner of one has opened.
        knows: whether a runner is there.
        passed: seconds from then until now (loop clock), without those in which orchd itself stood still.
    """

    def __init__(
        self,
        table: SessionTable,
        take: Callable[[ExpectedStream, Session], None],
        knows: Callable[[RunnerId], bool],
        passed: Callable[[float, float], float],
    ) -> None:
        self._table = table
        self._take = take
        self._knows = knows
        self._passed = passed
        self._places: dict[tuple[ModelKey, str], tuple[ExpectedStream, QueuePlace, float]] = {}
        self._waiting: dict[tuple[ModelKey, str], list[QueuePlace]] = {}
        """Of requests."""

    def __contains__(self, what: tuple[ModelKey, str]) -> bool:
        return what in self._places

    def count(self, key: ModelKey, origin: Origin) -> int:
        """Return how many of a model there are."""
        return sum(of == key and each.origin is origin for (of, _), (each, *_) in self._places.items())

    def of(self, origin: Origin) -> list[ExpectedStream]:
        """Return those of this origin."""
        return [each for each, *_ in self._places.values() if each.origin is origin]

    def accounts(self) -> set[str]:
        """Return the ids of their accounts."""
        return {each.account.id for each, *_ in self._places.values() if each.account is not None}

    def on(self, runner: RunnerId) -> bool:
        """Return whether there is one on this runner."""
        return any(each.runner == runner for each, *_ in self._places.values())

    def add(self, stream: ExpectedStream, now: float) -> None:
        """Wait for the runner of a stream, and count it meanwhile."""
        at = stream.runner.key, stream.name

        def resolve(what: Session | JobRefused) -> None:
            self._places.pop(at, None)
            if isinstance(what, Session):
                self._take(stream, what)
            self._tell(at, what)

        place = self._table.expect(stream.runner, SessionKind.STREAM, resolve)
        self._places[at] = stream, place, now

    def give_up(self, now: float) -> list[ExpectedStream]:
        """Count those no more whose runner has not come back; return them."""
        given_up = []
        for at, (stream, place, since) in list(self._places.items()):
            waited_s = self._passed(since, now)
            if waited_s >= RECOVER_S or (waited_s >= LOOKED_S and not self._knows(stream.runner)):
                del self._places[at]
                self._table.unexpect(stream.runner, place)
                given_up.append(stream)
                key, name = at
                self._tell(
                    at, JobRefused(Code.STREAM_UNKNOWN, f"cannot find {name} of {key} again: its runner is gone")
                )
        return given_up

    def wait(self, key: ModelKey, name: str) -> QueuePlace:
        """Return a place that is resolved when the stream is there again, or is given up."""
        place = QueuePlace(key, SessionKind.STREAM, lambda what: None)
        self._waiting.setdefault((key, name), []).append(place)
        return place

    def _tell(self, at: tuple[ModelKey, str], what: Session | JobRefused) -> None:
        for place in self._waiting.pop(at, ()):
            place.resolve(what)
