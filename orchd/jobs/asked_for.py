"""Which stream a request is about: the one that it names, one that takes its name, or a new one in a new slot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchd.doors.routes import ToRunner
from orchd.errors import Code, JobRefused
from orchd.jobs.run import NEVER, Run
from orchd.jobs.slots import SlotTaker
from orchd.jobs.stream_head import name_in, nameless
from orchd.realtime.keeper import Keeper
from orchd.realtime.stream import Stream
from orchd.sessions.session import Session

if TYPE_CHECKING:
    from orchd.sold.keeper import SoldKeeper

FOUND_S = 10.0
"""Longest wait of a request for the runner of its session, which orchd looks for after a restart."""


class StreamsAskedFor:
    """Finds streams for requests.

    Args:
        slots: takes one for a stream, waiting for a cold model.
        sold: knows the sessions that orchd sells itself; None = it sells none.
    """

    def __init__(self, keeper: Keeper, slots: SlotTaker, sold: SoldKeeper | None = None) -> None:
        self._keeper = keeper
        self._slots = slots
        self._kept = sold

    async def ride(self, run: Run, way: ToRunner) -> Session:
        """Return the slot of the session of Live Runner's that a request belongs to, taking it if nobody has yet.

        Raises:
            JobRefused: the request names none, or one that is over; or there is no slot.
        """
        name = way.session or name_in(run.head, run.door.naming)
        if not name:
            raise nameless(run.door.naming)
        if way.session:
            if (job := self._job(run, way)) is not None:
                return job
            stream = await self.sold(run, way)
        else:
            await self.found_again(run, way, name)
            stream = await self.find(run, way, name)
        if not self._keeper.goes_on(stream):
            raise JobRefused(Code.STREAM_UNKNOWN, f"cannot go on with session {name} of {way.key}: it has ended")
        self.own(run, stream)
        return stream.session

    def _job(self, run: Run, way: ToRunner) -> Session | None:
        """Return the slot of the job that is the session which the path names, and join it; None = it is no job.

        Raises:
            JobRefused: STREAM_UNKNOWN: it is ending.
        """
        sold = None if self._kept is None else self._kept.find(way.session)
        if self._kept is None or sold is None or sold.persistent or not isinstance(sold.slot, Session):
            return None
        if sold.ending or sold.pending or sold.key != way.key:
            raise _no_session(way)
        run.sold, run.session = sold, sold.slot
        self._kept.join(sold, run.abort)
        return sold.slot

    async def sold(self, run: Run, way: ToRunner) -> Stream:
        """Return the stream of the session that the path names, waiting a moment for one of an earlier orchd's.

        Raises:
            JobRefused: STREAM_UNKNOWN: there is no such session, or it has ended; HOLD_TIMEOUT: it is not found yet;
                NOT_READY: it has not begun.
        """
        key, name = way.key, way.session
        await self.found_again(run, way, name, FOUND_S)
        stream = self._keeper.streams.find(key, name)
        run.sold = None if self._kept is None else self._kept.find(name)
        if stream is None or run.sold is None:
            raise _no_session(way)
        if run.sold.pending:  # Nobody's time is charged yet, and it may come to nothing.
            raise JobRefused(Code.NOT_READY, f"cannot serve the request: session {name} is still being reserved")
        return stream

    async def found_again(self, run: Run, way: ToRunner, name: str, most_s: float = NEVER) -> None:
        """Wait for a stream that an earlier orchd has left, if it is one: its runner may be there in a moment.

        Args:
            most_s: longest wait, seconds, if that is less than a job may wait.
        """
        if (place := self._keeper.until_found(way.key, name)) is not None:
            await self._slots.wait(run, way.key, place, shared=True, most_s=most_s)

    async def find(self, run: Run, way: ToRunner, name: str) -> Stream:
        """Return the stream of that name, making one of a new slot if there is none."""
        keeper, key, origin = self._keeper, way.key, run.door.origin
        there = keeper.streams.find(key, name)
        if there is None or there.session.place is None:
            self._slots.count(run, key)
        if not origin.at_node:
            if there is not None:
                return there
            session = await self._slots.for_stream(run, key)
            run.session = None
            return keeper.hold(name, origin, session)  # Another request may have made it while we waited.
        found = keeper.join(key, name)
        if isinstance(found, Stream):
            return found
        try:
            await self._slots.wait(run, key, found, shared=True)
        finally:
            keeper.leave(key, name, found)
        if (stream := keeper.streams.find(key, name)) is None:
            raise JobRefused(Code.STREAM_UNKNOWN, f"cannot go on with session {name} of {key}: it has ended")
        return stream

    def named(self, run: Run, way: ToRunner, name: str) -> Stream | None:
        """Return the stream that is meant; without a name, the only one of the model."""
        if name:
            return self._keeper.claim(way.key, name, run.door.origin)
        streams = [stream for stream in self._keeper.streams.of(way.key) if stream.live]
        if len(streams) > 1:
            raise JobRefused(
                Code.BAD_REQUEST,
                f"cannot tell the stream: {way.key} has {len(streams)}; name one in the header X-Stream-Id",
            )
        return streams[0] if streams else None

    def own(self, run: Run, stream: Stream) -> None:
        run.stream, run.session = stream, stream.session
        self._slots.seat(run, stream.session)
        self._keeper.request_began(stream, run.abort)


def _no_session(way: ToRunner) -> JobRefused:
    return JobRefused(Code.STREAM_UNKNOWN, f"cannot serve the request: there is no such session of {way.key}")
