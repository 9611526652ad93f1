"""How streams come into being: a request starts one, or the node has reserved a session.

A session of the node's holds a slot from its reservation on. That a client has reserved one
says nothing yet: it may still have to pay, or never come. So a cold model is started for a session only when the node
says that it is paid for, or when the first request in it has come; until then its slot is pending (`sessions.table`).

Who asks for a session that we have ended is refused, though the node may have it for a moment more.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import structlog

from orchd.domain.ids import ModelKey
from orchd.domain.origins import AT_NODE, Origin
from orchd.domain.outcomes import Outcome
from orchd.domain.stores import StreamStore
from orchd.errors import Code, JobRefused
from orchd.realtime.endings import StreamEndings
from orchd.realtime.node_ends import MOST_TOLD
from orchd.realtime.starts import Containers, KnownRunners
from orchd.realtime.stream import Stream, StreamEnd
from orchd.sessions.letting_go import LettingGo
from orchd.sessions.session import Session, SessionKind
from orchd.sessions.slots import PendingSlot, QueuePlace
from orchd.sessions.table import SessionTable

log = structlog.get_logger("orchd.streams")


@dataclass(eq=False, slots=True)
class Reservation:
    """A session of the node's whose model is cold.

    Attributes:
        since: loop clock, seconds.
        place: a pending slot, or one in the queue: the model is being started for it.
        used: a request has come in it.
        waiting: one for each request that waits.
    """

    since: float
    place: PendingSlot | QueuePlace
    used: bool = False
    waiting: list[QueuePlace] = field(default_factory=list)


class StreamBeginnings(StreamEndings):
    """Begins streams. The middle of `Keeper`, which see; after `ports.NodeSessions`."""

    def __init__(
        self,
        table: SessionTable,
        letting_go: LettingGo,
        store: StreamStore,
        containers: Containers,
        runners: KnownRunners,
    ) -> None:
        super().__init__(letting_go, store, containers, runners)
        self._table = table
        self._reservations: dict[tuple[ModelKey, str], Reservation] = {}
        self._has_listed: set[ModelKey] = set()

    # What requests do.

    def claim(self, key: ModelKey, name: str, origin: Origin) -> Stream | None:
        """Return the stream of that name; one that was found without a name takes it."""
        stream = self.streams.find(key, name)
        if stream is None:
            stream = next((s for s in self.streams.of(key) if s.origin is Origin.FOUND and s.live), None)
            if stream is not None:
                stream.origin = origin
                self.streams.rename(stream, name)
                self._records.save_soon(stream)
        return stream

    def hold(self, name: str, origin: Origin, session: Session, *, used: bool = True) -> Stream:
        """Make a stream of a slot that was just taken for it; if there is one of that name by now, return that."""
        now = _now()
        stream = Stream(name, session.key, origin, session, now, now, began_date=time.time(), used=used)
        if (other := self.streams.find(session.key, name)) is not None:
            self._table.end(session, Outcome.REFUSED)
            self.ended.emit(StreamEnd(stream, Outcome.REFUSED, "there is one of that name"))
            return other
        self.streams.add(stream)
        session.abort = lambda reason: self._cut(stream, reason)
        return stream

    def join(self, key: ModelKey, name: str) -> Stream | QueuePlace:
        """Return the stream of the node's session that a request belongs to, taking its slot if nobody has yet.

        If its model is cold it is started, and a place comes back that is resolved with the session of the stream.

        Raises:
            JobRefused: there is no slot for it, or orchd has ended it.
        """
        if (key, name) in self.node_ends.names:
            raise JobRefused(Code.STREAM_UNKNOWN, f"cannot go on with session {name} of {key}: it has ended")
        if (stream := self.claim(key, name, AT_NODE)) is not None:
            return stream
        reservation = self._reservations.get((key, name))
        if reservation is None or isinstance(reservation.place, PendingSlot):
            got = self._begin(key, name)
            if isinstance(got, Session):
                return self.hold(name, AT_NODE, got)
            reservation = self._queue(key, name, got)
        reservation.used = True
        place = QueuePlace(key, SessionKind.STREAM, lambda what: None)
        reservation.waiting.append(place)
        return place

    def leave(self, key: ModelKey, name: str, place: QueuePlace) -> None:
        """A request waits no more. The session does: the node has it."""
        reservation = self._reservations.get((key, name))
        if reservation is not None and place in reservation.waiting:
            reservation.waiting.remove(place)

    def stopped(self, key: ModelKey, name: str) -> None:
        """Somebody has stopped a stream that there is not; if it is found again, that counts."""
        self.over.note(key, name, _now())

    # What the node says.

    def reserved(self, key: ModelKey, session: str) -> None:
        self.over.forget(key, session)
        self._reserve(key, session, paid=True)

    def released(self, key: ModelKey, session: str) -> None:
        self._release(key, session, Outcome.OK, "the node has released it")

    def listed(self, key: ModelKey, sessions: frozenset[str], asked_at: float) -> None:
        # Of what there was before us it is not known whether a request has come in it.
        known_from_start = key in self._has_listed
        self._has_listed.add(key)
        told = refused = 0
        for session in sorted(sessions):
            if (key, session) in self.node_ends.names:
                if told < MOST_TOLD and self.node_ends.is_due(key, session, asked_at):
                    self.node_ends.tell(key, session)
                    told += 1
            elif refused < MOST_TOLD and self.over.at(key, session) < asked_at:
                refused += not self._reserve(key, session, used=not known_from_start)
        for session in self._older(key, asked_at) - sessions:
            self.released(key, session)
        self.node_ends.not_listed(key, sessions, asked_at)

    def forgotten(self, key: ModelKey, asked_at: float) -> None:
        for session in self._older(key, asked_at):
            self._release(key, session, Outcome.ABORTED, "the node went, and the session with it")

    def _expects(self, key: ModelKey, name: str) -> bool:
        """Return whether it is a stream that an earlier orchd has left, and is still to be found again."""
        raise NotImplementedError

    def _older(self, key: ModelKey, asked_at: float) -> set[str]:
        """Return the node's sessions that we have known since before then."""
        streams = {s.id for s in self.streams.of(key) if s.origin.at_node and s.began_at < asked_at}
        return streams | {name for (of, name), r in self._reservations.items() if of == key and r.since < asked_at}

    def _reserve(self, key: ModelKey, name: str, *, paid: bool = False, used: bool = False) -> bool:
        """Have a slot for a session of the node's; return False if there is none, and the node is told.

        Args:
            paid: it is sure to begin, so a cold model is started for it.
            used: a request may have come in it.
        """
        if (key, name) in self.node_ends.names or self._expects(key, name):
            return True
        reservation = self._reservations.get((key, name))
        if reservation is not None and not (paid and isinstance(reservation.place, PendingSlot)):
            return True
        if self.claim(key, name, AT_NODE) is not None:
            return True
        try:
            got = self._begin(key, name) if paid else self._keep(key)
        except JobRefused as refusal:
            log.warning(
                "reservation_refused", pipeline=key.pipeline, model_id=key.model_id, session=name, code=refusal.code
            )
            self.node_ends.tell(key, name)
            return False
        if isinstance(got, Session):
            self.hold(name, AT_NODE, got, used=used)
        elif isinstance(got, QueuePlace):
            self._queue(key, name, got)
        else:
            self._reservations[key, name] = Reservation(_now(), got, used)
        return True

    def _keep(self, key: ModelKey) -> Session | PendingSlot:
        """Take a slot without starting anything.

        Raises:
            JobRefused.
        """
        slot = self._table.reserve(key)
        if slot.replica is None:
            return slot
        got = self._table.confirm(slot, SessionKind.STREAM)
        assert isinstance(got, Session)
        return got

    def _begin(self, key: ModelKey, name: str) -> Session | QueuePlace:
        """Begin a session, in the slot that is kept for it if there is one.

        Raises:
            JobRefused.
        """
        reservation = self._reservations.pop((key, name), None)
        if reservation is None or not isinstance(slot := reservation.place, PendingSlot):
            return self._table.begin(key, SessionKind.STREAM)
        got = self._table.confirm(slot, SessionKind.STREAM)
        assert got is not None
        return got

    def _queue(self, key: ModelKey, name: str, place: QueuePlace) -> Reservation:
        """Keep a session that waits for its model to start."""
        reservation = self._reservations[key, name] = Reservation(_now(), place)

        def resolve(what: Session | JobRefused) -> None:
            del self._reservations[key, name]
            if isinstance(what, Session):
                self.hold(name, AT_NODE, what, used=reservation.used)
            else:
                self.node_ends.tell(key, name)
            for waiting in reservation.waiting:
                waiting.resolve(what)

        place.resolve = resolve
        return reservation

    def _drop(self, key: ModelKey, name: str) -> None:
        """Give the place of a session back that has no slot on a runner yet. One that is not there is fine."""
        reservation = self._reservations.pop((key, name), None)
        if reservation is None:
            return
        if isinstance(reservation.place, PendingSlot):
            self._table.release(reservation.place)
        else:
            self._table.leave(reservation.place)
        over = JobRefused(Code.STREAM_UNKNOWN, f"cannot begin session {name} of {key}: it has ended")
        for waiting in reservation.waiting:
            waiting.resolve(over)

    def _release(self, key: ModelKey, session: str, outcome: Outcome, why: str) -> None:
        """The node does not have it any more."""
        self.node_ends.names.forget(key, session)
        self._drop(key, session)
        stream = self.streams.find(key, session)
        if stream is not None and stream.origin.at_node:
            stream.node_knows = True
            self.end_soon(stream, outcome, why)
        elif stream is None:
            self.stopped(key, session)


def _now() -> float:
    return asyncio.get_running_loop().time()
