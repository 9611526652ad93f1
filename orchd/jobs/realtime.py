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

from orchd.domain.model import Model
from orchd.domain.outcomes import Outcome
from orchd.domain.phases import StreamPhase
from orchd.doors.routes import ToRunner
from orchd.errors import Code, JobRefused
from orchd.jobs.asked_for import StreamsAskedFor
from orchd.jobs.run import Run
from orchd.jobs.stream_body import check_start, id_in, said_id
from orchd.jobs.stream_channels import StreamChannels
from orchd.jobs.stream_head import name_in, nameless, passing_headers
from orchd.jobs.whole_body import whole_body
from orchd.realtime.channels import brings_media
from orchd.realtime.container import ContainerSilent, Reply
from orchd.realtime.keeper import Keeper
from orchd.realtime.routes import StreamCall
from orchd.realtime.session_channels import NoChannels
from orchd.realtime.stream import Stream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Coroutine

    from orchd.sold.keeper import SoldKeeper

MIB = 1024 * 1024
MAX_BODY_BYTES = 16 * MIB
"""A gateway takes 10 MiB for a start (docs/protocol/byoc.md, 7)."""
JSON = (b"Content-Type", b"application/json")


class Realtime:
    """Answers calls about streams.

    Args:
        keeper: moves the streams.
        asked_for: knows which of them a request is about.
        body_timeout_s: idle timeout in seconds of a call's body.
        admit: asks the hooks that take what a stream costs.
        began: a stream has begun to run: it is charged for from now on.
        channels: knows who makes those of a stream whose client brings no media.
        sold: knows the sessions that orchd sells itself; None = it sells none.
    """

    def __init__(
        self,
        keeper: Keeper,
        asked_for: StreamsAskedFor,
        *,
        body_timeout_s: float,
        admit: Callable[[Run], Awaitable[None]],
        began: Callable[[Stream], None],
        channels: StreamChannels,
        sold: SoldKeeper | None = None,
    ) -> None:
        self._keeper = keeper
        self._asked_for = asked_for
        self._body_timeout_s = body_timeout_s
        self._admit = admit
        self._began = began
        self._channels = channels
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
            await self._asked_for.sold(run, way)
        elif run.door.naming.in_body:
            name = name or (said_id(body) if said is None else id_in(said))
        elif not name:
            raise nameless(run.door.naming)
        if call is not StreamCall.STOP or run.door.origin.at_node:  # BYOC's counts for what is found later.
            await self._asked_for.found_again(run, way, name)
        match call:
            case StreamCall.START:
                own_media = brings_media(said or {}, body)
                await self._start(run, way, model, name or run.request_id, body, own_media=own_media)
            case StreamCall.STOP:
                await self._stop(run, way, model, name, body)
            case StreamCall.UPDATE:
                stream = self._asked_for.named(run, way, name)
                if stream is None or not stream.live:
                    raise JobRefused(
                        Code.STREAM_UNKNOWN, f"cannot update {name or 'a stream'} of {model.key}: it does not run"
                    )
                await self._ask(run, stream, call, way, model, body)
            case StreamCall.STATUS:
                await self._status(run, way, model, name, body)

    def found(self, stream: Stream) -> None:
        """A stream was found again after a restart. By its channels, if orchd has made them, is seen whether its client
        is there."""
        session = None if self._sold is None else self._sold.carried_by(stream)
        if session is not None and stream.ran:
            stream.channels = self._channels.left(session)

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
        stream = await self._asked_for.find(run, way, name)
        if stream.phase is not StreamPhase.HELD:
            # The container would silently replace the running one (docs/protocol/container.md, 2.3).
            raise JobRefused(Code.STREAM_RUNNING, f"cannot start stream {name} of {key}: it runs already")
        self._asked_for.own(run, stream)
        run.starts = keeper.starting(stream)
        await self._admit(run)
        _check_not_stopped(stream, run)
        run.admitted = True
        headers = self._headers(run)
        try:
            channels = None if own_media else self._channels.of(run, stream)
            start = keeper.start(stream, model, headers, body, channels)
            reply = await self._asked(run, StreamCall.START, model, start)
        except NoChannels as exc:
            _check_not_stopped(stream, run)
            keeper.refused(stream, "no channels were made for it")
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
        stream = self._asked_for.named(run, way, name)
        reply = None
        if stream is not None:
            headers = self._headers(run)
            if stream.found and stream.channels is None:
                stream.channels = self._channels.of(run, stream)
            reply = await run.outside(self._keeper.stop(stream, headers, body))
        elif name and not run.door.origin.at_node:
            self._keeper.stopped(way.key, name)
        if reply is not None and reply.status < 300:
            return self._answer(run, reply, way)
        text = "Stream stopped" if stream is not None else "No such stream runs"
        return self._say(run, {"status": "success", "message": text})

    async def _status(self, run: Run, way: ToRunner, model: Model, name: str, body: bytes) -> None:
        stream = self._keeper.streams.find(way.key, name) if name else self._asked_for.named(run, way, name)
        if stream is not None:
            return await self._ask(run, stream, StreamCall.STATUS, way, model, body)
        count = len(self._keeper.streams.of(model.key))
        return self._say(run, {"status": "OK" if count else "IDLE", "active_streams": count})

    async def _ask(self, run: Run, stream: Stream, call: StreamCall, way: ToRunner, model: Model, body: bytes) -> None:
        self._asked_for.own(run, stream)
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

    def _headers(self, run: Run) -> dict[str, str]:
        """Return the headers that the container gets of those of the caller's, and what it is told of its session."""
        headers = passing_headers(run.head, run.door.naming)
        if run.sold is not None and self._sold is not None:
            headers |= self._sold.headers(run.sold)
        return headers

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
