"""Requests about realtime sessions: start, stop, update, status, and what rides on a session of Live Runner's.

    start:  name -> hooks.identify (before) -> slot -> hooks.admit -> on the disk -> container -> answer
    others: name -> stream -> container -> answer

Their bodies are small and are collected whole. A stream outlives the request that began it: its slot, its account and
its count as a job end in `Keeper`, not here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from orchd.domain.model import Model, Secret
from orchd.domain.outcomes import Outcome
from orchd.domain.phases import StreamPhase
from orchd.doors.routes import ToRunner
from orchd.errors import Code, JobRefused
from orchd.jobs.run import Run
from orchd.jobs.slots import SlotTaker
from orchd.jobs.stream_body import check_start, id_in, said_id
from orchd.jobs.stream_head import name_in, nameless, passing_headers, session_pass
from orchd.jobs.whole_body import whole_body
from orchd.realtime.channels import brings_media
from orchd.realtime.container import ContainerSilent, Reply
from orchd.realtime.keeper import Keeper
from orchd.realtime.node_channels import NodeChannels
from orchd.realtime.routes import StreamCall
from orchd.realtime.session_channels import NoChannels, SessionChannels
from orchd.realtime.stream import Stream
from orchd.sessions.session import Session

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine

    from orchd.node.ports import NodeCalls
    from orchd.sold.keeper import SoldKeeper

MIB = 1024 * 1024
MAX_BODY_BYTES = 16 * MIB
"""A gateway takes 10 MiB for a start (docs/protocol/byoc.md, 7)."""
JSON = (b"Content-Type", b"application/json")
FOUND_S = 10.0
"""Longest wait of a request for the runner of its session, which orchd looks for after a restart."""


class Realtime:
    """Answers calls about streams.

    Args:
        keeper: moves the streams.
        body_timeout_s: idle timeout in seconds of a call's body.
        slots: takes one for a stream, waiting for a cold model.
        admit: asks the hooks that take what a stream costs.
        began: a stream has begun to run: it is charged for from now on.
        node: has the channels of its sessions made; None = there is no node.
        sold: knows the sessions that orchd sells itself; None = it sells none.
    """

    def __init__(
        self,
        keeper: Keeper,
        *,
        body_timeout_s: float,
        slots: SlotTaker,
        admit: Callable[[Run], Awaitable[None]],
        began: Callable[[Stream], None],
        node: NodeCalls | None = None,
        sold: SoldKeeper | None = None,
    ) -> None:
        self._keeper = keeper
        self._body_timeout_s = body_timeout_s
        self._slots = slots
        self._admit = admit
        self._began = began
        self._node = node
        self._sold = sold

    async def serve(self, run: Run, call: StreamCall, way: ToRunner, model: Model) -> None:
        """Answer a call about a stream.

        Raises:
            JobRefused, CallerGone.
        """
        # A stream counts as a job when it has ended; see `Handler.stream_ended`. One that can't begin counts here.
        run.counts = call is StreamCall.START
        body = await self._body(run, model)
        name = way.session or name_in(run.head, run.door.naming)
        said = check_start(body) if call is StreamCall.START else None
        if way.session:
            await self._sold_stream(run, way)
        elif run.door.naming.in_body:
            name = name or (said_id(body) if said is None else id_in(said))
        elif not name:
            raise nameless(run.door.naming)
        if call is not StreamCall.STOP or run.door.origin.at_node:  # BYOC's counts for what is found later.
            await self._found_again(run, way, name)
        match call:
            case StreamCall.START:
                own_media = brings_media(said or {}, body)
                await self._start(run, way, model, name or run.request_id, body, own_media=own_media)
            case StreamCall.STOP:
                await self._stop(run, way, model, name, body)
            case StreamCall.UPDATE:
                stream = self._which(run, way, name)
                if stream is None or not stream.live:
                    raise JobRefused(
                        Code.STREAM_UNKNOWN, f"cannot update {name or 'a stream'} of {model.key}: it does not run"
                    )
                await self._ask(run, stream, call, way, model, body)
            case StreamCall.STATUS:
                await self._status(run, way, model, name, body)

    async def ride(self, run: Run, way: ToRunner) -> Session:
        """Return the slot of the session of Live Runner's that a request belongs to, taking it if nobody has yet.

        Raises:
            JobRefused: the request names none, or one that is over; or there is no slot.
        """
        name = way.session or name_in(run.head, run.door.naming)
        if not name:
            raise nameless(run.door.naming)
        if way.session:
            if (job := self._sold_job(run, way)) is not None:
                return job
            stream = await self._sold_stream(run, way)
        else:
            await self._found_again(run, way, name)
            stream = await self._find(run, way, name)
        if not self._keeper.goes_on(stream):
            raise JobRefused(Code.STREAM_UNKNOWN, f"cannot go on with session {name} of {way.key}: it has ended")
        self._own(run, stream)
        return stream.session

    def _sold_job(self, run: Run, way: ToRunner) -> Session | None:
        """Return the slot of the job that is the session which the path names, and join it; None = it is no job.

        Raises:
            JobRefused: STREAM_UNKNOWN: it is ending.
        """
        sold = None if self._sold is None else self._sold.find(way.session)
        if self._sold is None or sold is None or sold.persistent or not isinstance(sold.slot, Session):
            return None
        if sold.ending or sold.pending or sold.key != way.key:
            raise _no_session(way)
        run.sold, run.session = sold, sold.slot
        self._sold.join(sold, run.abort)
        return sold.slot

    async def _sold_stream(self, run: Run, way: ToRunner) -> Stream:
        """Return the stream of the session that the path names, waiting a moment for one of an earlier orchd's.

        Raises:
            JobRefused: STREAM_UNKNOWN: there is no such session, or it has ended; HOLD_TIMEOUT: it is not found yet.
        """
        key, name = way.key, way.session
        if (place := self._keeper.until_found(key, name)) is not None:
            await self._slots.wait(run, key, place, shared=True, most_s=FOUND_S)
        stream = self._keeper.streams.find(key, name)
        run.sold = None if self._sold is None else self._sold.find(name)
        if stream is None or run.sold is None:
            raise _no_session(way)
        return stream

    async def _found_again(self, run: Run, way: ToRunner, name: str) -> None:
        """Wait for a stream that an earlier orchd has left, if it is one: its runner may be there in a moment."""
        if (place := self._keeper.until_found(way.key, name)) is not None:
            await self._slots.wait(run, way.key, place, shared=True)

    async def _find(self, run: Run, way: ToRunner, name: str) -> Stream:
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

    def ended(self, run: Run, outcome: Outcome) -> None:
        """A request on a stream is over; one that broke off in the middle of a start takes the stream with it."""
        stream = run.stream
        assert stream is not None
        if run.starts == stream.starts and stream.phase is StreamPhase.STARTING:
            if stream.asked:
                self._keeper.give_up_start(stream, outcome, "its start did not succeed")
            else:
                self._keeper.refused(stream, "its start was not admitted")
        self._keeper.request_ended(stream, run.abort)

    async def _start(self, run: Run, way: ToRunner, model: Model, name: str, body: bytes, *, own_media: bool) -> None:
        key, keeper = model.key, self._keeper
        if run.door.origin.at_node and not own_media and not model.persistent:
            raise JobRefused(
                Code.BAD_REQUEST,
                f"cannot start a stream of {key}: its sessions end with each request (the entry's mode is single-shot)",
            )
        stream = await self._find(run, way, name)
        if stream.phase is not StreamPhase.HELD:
            # The container would silently replace the running one (docs/protocol/container.md, 2.3).
            raise JobRefused(Code.STREAM_RUNNING, f"cannot start stream {name} of {key}: it runs already")
        self._own(run, stream)
        run.starts = keeper.starting(stream)
        await self._admit(run)
        _check_not_stopped(stream, run)
        run.admitted = True
        headers = self._headers(run)
        try:
            channels = None if own_media else self._channels(run, stream)
            start = keeper.start(stream, model, headers, body, channels)
            reply = await self._asked(run, StreamCall.START, model, start)
        except NoChannels as exc:
            _check_not_stopped(stream, run)
            keeper.refused(stream, "the node has made no channels for it")
            raise JobRefused(Code.CHANNELS_UNAVAILABLE, f"cannot start a stream of {key}: {exc}") from exc
        _check_not_stopped(stream, run)
        if reply is None:
            raise JobRefused(Code.BACKEND_UNUSABLE, f"cannot start a stream of {key}: its container has no such route")
        if reply.status >= 300:
            keeper.refused(stream, f"its container answered {reply.status} to the start")
        else:
            run.counts = False
            keeper.started(stream)
            self._began(stream)
        self._answer(run, reply, way)

    async def _stop(self, run: Run, way: ToRunner, model: Model, name: str, body: bytes) -> None:
        """Stop a stream.

        A stop may come three times, and for a stream that ended long ago (docs/protocol/byoc.md, 6.3).
        """
        stream = self._which(run, way, name)
        reply = None
        if stream is not None:
            headers = self._headers(run)
            if stream.found and stream.channels is None:
                stream.channels = self._channels(run, stream)
            reply = await run.outside(self._keeper.stop(stream, headers, body))
        elif name and not run.door.origin.at_node:
            self._keeper.stopped(way.key, name)
        if reply is not None and reply.status < 300:
            return self._answer(run, reply, way)
        text = "Stream stopped" if stream is not None else "No such stream runs"
        return self._say(run, {"status": "success", "message": text})

    async def _status(self, run: Run, way: ToRunner, model: Model, name: str, body: bytes) -> None:
        stream = self._keeper.streams.find(way.key, name) if name else self._which(run, way, name)
        if stream is not None:
            return await self._ask(run, stream, StreamCall.STATUS, way, model, body)
        count = len(self._keeper.streams.of(model.key))
        return self._say(run, {"status": "OK" if count else "IDLE", "active_streams": count})

    async def _ask(self, run: Run, stream: Stream, call: StreamCall, way: ToRunner, model: Model, body: bytes) -> None:
        self._own(run, stream)
        asking = self._keeper.ask(stream, call, model, self._headers(run), body)
        reply = await self._asked(run, call, model, asking)
        if reply is None:
            raise JobRefused(Code.BACKEND_UNUSABLE, f"cannot {call}: the container of {model.key} has no such route")
        self._answer(run, reply, way)

    async def _asked(
        self, run: Run, call: StreamCall, model: Model, asking: Coroutine[Any, Any, Reply | None]
    ) -> Reply | None:
        run.until_begin()
        try:
            return await run.outside(asking)
        except ContainerSilent as exc:
            raise JobRefused(Code.BACKEND_UNAVAILABLE, f"cannot {call}: the runner of {model.key} {exc}") from exc

    def _channels(self, run: Run, stream: Stream) -> SessionChannels | None:
        """Return how to have channels made for a stream; None = it is no session of the node's."""
        if self._node is None or not stream.origin.at_node:
            return None
        route, token = session_pass(run.head)
        return NodeChannels(self._node, route, stream.id, Secret(token)) if route and token else None

    def _headers(self, run: Run) -> dict[str, str]:
        """Return the headers that the container gets of those of the caller's, and what it is told of its session."""
        headers = passing_headers(run.head, run.door.naming)
        if run.sold is not None and self._sold is not None:
            headers |= self._sold.headers(run.sold)
        return headers

    def _own(self, run: Run, stream: Stream) -> None:
        run.stream, run.session = stream, stream.session
        self._slots.seat(run, stream.session)
        self._keeper.request_began(stream, run.abort)

    def _which(self, run: Run, way: ToRunner, name: str) -> Stream | None:
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

    async def _body(self, run: Run, model: Model) -> bytes:
        most = min(model.inference.max_body_mb * MIB or MAX_BODY_BYTES, MAX_BODY_BYTES)
        body = await whole_body(run, most, self._body_timeout_s)
        if len(body) > most:
            raise JobRefused(
                Code.BODY_TOO_LARGE,
                f"cannot take the body: calls about streams of {model.key} take at most {most // MIB} MiB",
            )
        return body

    def _answer(self, run: Run, reply: Reply, way: ToRunner) -> None:
        run.door.check_status(reply.status, way.key)
        headers = [field for field in reply.headers if field[0].lower() != b"livepeer-request-id"]
        run.status = reply.status
        run.caller.answer(reply.status, [*headers, _id(run)], reply.body)

    def _say(self, run: Run, what: Mapping[str, Any]) -> None:
        run.caller.answer(200, [JSON, _id(run)], json.dumps(what).encode())


def _no_session(way: ToRunner) -> JobRefused:
    return JobRefused(Code.STREAM_UNKNOWN, f"cannot serve the request: there is no such session of {way.key}")


def _check_not_stopped(stream: Stream, run: Run) -> None:
    """Check that nobody has stopped a stream while it was being started.

    Raises:
        JobRefused: somebody has.
    """
    if stream.phase is not StreamPhase.STARTING or stream.starts != run.starts:
        raise JobRefused(
            Code.STREAM_UNKNOWN, f"cannot start stream {stream.id} of {stream.key}: it was stopped meanwhile"
        )


def _id(run: Run) -> tuple[bytes, bytes]:
    return b"Livepeer-Request-Id", run.request_id.encode()
