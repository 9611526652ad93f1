"""How a stream is started and ended at its container, and what becomes of its slot then.

Where the container may still be at work on a stream, it is asked to stop first, and the slot is held meanwhile: another
start would meet a busy container. If it does not say that it has stopped, or if requests on the stream are still
ending, the stream is over, but its slot is letting go (`sessions.letting_go`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

import structlog

from orchd.domain.ids import Address, ModelKey, RunnerId
from orchd.domain.model import Model
from orchd.domain.origins import Origin
from orchd.domain.outcomes import Outcome
from orchd.domain.phases import StreamEvent, StreamPhase
from orchd.domain.signal import Signal
from orchd.domain.stores import StreamStore
from orchd.realtime.container import ContainerSilent, Reply
from orchd.realtime.over import NamesOver
from orchd.realtime.records import StreamRecords
from orchd.realtime.routes import Learnt, StreamCall, stream_routes
from orchd.realtime.session_channels import NoChannels, SessionChannels
from orchd.realtime.stream import Stream, StreamEnd, Streams
from orchd.sessions.letting_go import LettingGo
from orchd.tasks import cancel, spawn

log = structlog.get_logger("orchd.streams")

STREAM_ID, SESSION_ID = "X-Stream-Id", "Livepeer-Session-Id"
NOTHING_TO_STOP = (400, 404, 405, 410)
"""With these a container says that it carries no such stream. PyTrickle: 400 when none was started."""


class Containers(Protocol):
    async def call(
        self, model: Model, address: Address, call: StreamCall, *, headers: Mapping[str, str], body: bytes
    ) -> Reply | None: ...


class KnownRunners(Protocol):
    """What is served, and where; `reconcile.loop.Loop` is one."""

    def models(self) -> Mapping[ModelKey, Model]:
        """Return what is served now."""
        ...

    def knows(self, runner: RunnerId) -> bool:
        """Return whether a runner is there, or nobody can say yet."""
        ...


class StreamEndings:
    """Starts and ends streams at their containers. The base of `Keeper`, which see."""

    def __init__(
        self, letting_go: LettingGo, store: StreamStore, containers: Containers, runners: KnownRunners
    ) -> None:
        self.streams = Streams()
        self._letting_go = letting_go
        self._records = StreamRecords(store)
        self.containers = containers
        self._runners = runners
        self.over = NamesOver()
        self.ended: Signal[StreamEnd] = Signal()
        self.over_at_node: Signal[ModelKey, str] = Signal()
        self._starts: dict[Stream, asyncio.Task[Reply | ContainerSilent | NoChannels | None]] = {}
        self._stops: dict[Stream, asyncio.Task[Reply | None]] = {}
        self._ended: dict[Stream, StreamEnd] = {}

    async def close(self) -> None:
        """Let go: streams and containers go on."""
        await cancel(*self._starts.values(), *self._stops.values())
        await self._records.close()

    def start(
        self,
        stream: Stream,
        model: Model,
        headers: Mapping[str, str],
        body: bytes,
        channels: SessionChannels | None = None,
    ) -> Coroutine[Any, Any, Reply | None]:
        """Note it on the disk and ask the container to start it. The answer can be awaited; None = no such route.

        This goes on when the one who waits for it leaves: a stop must not overtake the start.

        Args:
            channels: its media are to go through these; None = the body names them.

        Raises:
            ContainerSilent: when awaited.
            NoChannels: when awaited; the container was not asked.
        """
        stream.asked, stream.channels = True, channels
        asking = self._ask_to_start(stream, model, headers, body)
        start = self._starts[stream] = spawn(asking, name="start a stream")
        return _answer_to(start)

    async def _ask_to_start(
        self, stream: Stream, model: Model, headers: Mapping[str, str], body: bytes
    ) -> Reply | ContainerSilent | NoChannels | None:
        channels = stream.channels
        try:
            made = None if channels is None else await channels.make()
            await self._records.save(stream)
            if channels is None or made is None:
                return await self.ask(stream, StreamCall.START, model, headers, body)
            reply = await self.ask(stream, StreamCall.START, model, headers, made.start(body, stream.id, model))
            if reply is not None and reply.status < 300:
                return Reply(200, ((b"Content-Type", b"application/json"),), made.answer(stream.id))
            await self._remove_channels(stream)
            return reply
        except ContainerSilent as exc:
            return exc
        except NoChannels as exc:
            stream.asked, stream.channels = False, None
            return exc
        finally:
            del self._starts[stream]

    async def ask(
        self, stream: Stream, call: StreamCall, model: Model, headers: Mapping[str, str], body: bytes
    ) -> Reply | None:
        """Ask the container of a stream, naming the stream: it may have others. None = it has no such route.

        Args:
            headers: of the one who asks; names of streams in them don't count.

        Raises:
            ContainerSilent.
        """
        named = {name: value for name, value in headers.items() if name.lower() != STREAM_ID.lower()}
        named[STREAM_ID] = stream.id
        if stream.origin.at_node:
            named = {name: value for name, value in named.items() if name.lower() != SESSION_ID.lower()}
            named[SESSION_ID] = stream.id
        return await self.containers.call(model, stream.session.address, call, headers=named, body=body)

    async def end(
        self, stream: Stream, outcome: Outcome, why: str, *, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> Reply | None:
        """End a stream, asking its container to stop; return what that said, None = nothing. Repeats are fine.

        Args:
            headers, body: of the stop that a caller has sent.
        """
        # A stop by BYOC comes from the node, which gives its slot back by itself.
        stream.node_knows |= headers is not None and stream.origin is Origin.BYOC
        return await asyncio.shield(self._begin_end(stream, outcome, why, headers or {}, body))

    def end_soon(self, stream: Stream, outcome: Outcome, why: str) -> None:
        """As `end`, without waiting."""
        if stream.live:
            self._begin_end(stream, outcome, why, {}, b"")

    def request_ended(self, stream: Stream, cut: Callable[[str], None]) -> None:
        stream.riders.discard(cut)
        stream.sign_at = _now()
        self._tell_end(stream)

    def _cut(self, stream: Stream, reason: str) -> None:
        """Its runner goes: nobody can be asked to stop any more. Called by the table, from inside a call of its own."""
        asyncio.get_running_loop().call_soon(lambda: self._finish(stream, Outcome.ABORTED, reason, confirmed=False))

    def _begin_end(
        self, stream: Stream, outcome: Outcome, why: str, headers: Mapping[str, str], body: bytes
    ) -> asyncio.Future[Reply | None]:
        if (task := self._stops.get(stream)) is not None:
            return task
        if not stream.live or not stream.asked:
            if stream.live:
                self._finish(stream, outcome, why)
            done: asyncio.Future[Reply | None] = asyncio.get_running_loop().create_future()
            done.set_result(None)
            return done
        self.streams.move(stream, StreamEvent.STOP_ASKED)
        stream.idle_since = None
        task = self._stops[stream] = spawn(self._stop(stream, outcome, why, headers, body), name="end a stream")
        return task

    async def _stop(
        self, stream: Stream, outcome: Outcome, why: str, headers: Mapping[str, str], body: bytes
    ) -> Reply | None:
        model = self._runners.models().get(stream.key)
        reply, confirmed = None, False
        try:
            if (start := self._starts.get(stream)) is not None:
                await asyncio.wait({start})
            if model is not None and stream.phase is StreamPhase.ENDING:
                if not stream_routes(model, StreamCall.STOP, Learnt()):
                    # It ends by itself once its input has, which is the node's; see `_sweep`.
                    stream.idle_since = _now()
                    await self._remove_channels(stream)
                    self._end_at_node(stream)
                    return None
                reply = await self.ask(stream, StreamCall.STOP, model, headers, body)
                confirmed = reply is not None and (reply.status < 300 or reply.status in NOTHING_TO_STOP)
                await self._remove_channels(stream)
        except ContainerSilent as exc:
            log.warning("stream_not_stopped", stream=stream.id, reason=f"the container {exc}")
            await self._remove_channels(stream)
        finally:
            self._stops.pop(stream, None)
        self._finish(stream, outcome, why, confirmed=confirmed)
        return reply

    async def _remove_channels(self, stream: Stream) -> None:
        """Behind the container's last word: it has something to say there. The end of its session removes them, too."""
        channels, stream.channels = stream.channels, None
        if channels is not None and not stream.node_knows:
            await channels.remove()

    def _finish(self, stream: Stream, outcome: Outcome, why: str, *, confirmed: bool = True) -> None:
        """Free the slot, or let it go; once. `confirmed`: its container has said that it is not at work on it."""
        if stream.phase is StreamPhase.ENDED:
            return
        self.streams.move(stream, StreamEvent.OVER)
        self.streams.drop(stream)
        key = stream.key
        if stream.asked and not confirmed:
            model = self._runners.models().get(key)
            self._letting_go.cut(stream.session, model.inference.timeout_s if model else 0.0, watched=False)
        log.info(
            "stream_ended",
            pipeline=key.pipeline,
            model_id=key.model_id,
            stream=stream.id,
            origin=stream.origin,
            outcome=outcome,
            why=why,
            total_s=round(_now() - stream.began_at, 3),
        )
        self._end_at_node(stream)
        self._records.forget_soon(key, stream.id)
        self._ended[stream] = StreamEnd(stream, outcome, why)
        for cut in list(stream.riders):
            cut(why)
        # They are cut in the loop's next turn, and then it is known what their runner may still be at work on.
        asyncio.get_running_loop().call_soon(self._free, stream, outcome)
        self._tell_end(stream)

    def _free(self, stream: Stream, outcome: Outcome) -> None:
        """Free the slot, or let it go; repeats are fine."""
        self._letting_go.end(stream.session, outcome)

    def _tell_end(self, stream: Stream) -> None:
        """Say that it is over, unless a request is still ending: a hook may be at work for it."""
        if not stream.riders and (end := self._ended.pop(stream, None)) is not None:
            self._free(stream, end.outcome)
            self.ended.emit(end)

    def _end_at_node(self, stream: Stream) -> None:
        """See to it that the node ends it too."""
        if stream.origin.at_node:
            self.over.note(stream.key, stream.id, _now())
            if not stream.node_knows:
                stream.node_knows = True
                self.over_at_node.emit(stream.key, stream.id)


async def _answer_to(start: asyncio.Task[Reply | ContainerSilent | NoChannels | None]) -> Reply | None:
    answer: Reply | ContainerSilent | NoChannels | None = await asyncio.shield(start)
    if isinstance(answer, Exception):
        raise answer
    return answer


def _now() -> float:
    return asyncio.get_running_loop().time()
