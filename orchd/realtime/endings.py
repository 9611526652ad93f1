"""How a stream is ended at its container, and what becomes of its slot then.

Where the container may still be at work on a stream, it is asked to stop first, and the slot is held meanwhile: another
start would meet a busy container. If it does not say that it has stopped, or if requests on the stream are still
ending, the stream is over, but its slot is letting go (`sessions.letting_go`).

A caller's stop ends a stream, but not the session that was reserved for it, at the node or here: that is the client's
to end, who may start another one in it. Whatever else ends a stream ends its session at the node, too (`node_ends.py`).
The requests in a session that orchd has sold are cut as soon as its end begins: nobody pays for them any more. Its
record is dropped at once, too: it must not be there again after a restart, even if its container takes long to stop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

import structlog

from orchd.domain.ids import ModelKey
from orchd.domain.origins import Origin
from orchd.domain.outcomes import Cut, Outcome
from orchd.domain.phases import StreamEvent, StreamPhase
from orchd.domain.signal import Signal
from orchd.domain.stores import StreamStore
from orchd.errors import Code
from orchd.realtime.container import ContainerSilent, Reply
from orchd.realtime.node_ends import NodeEnds
from orchd.realtime.over import NamesOver
from orchd.realtime.routes import Learnt, StreamCall, stream_routes
from orchd.realtime.starts import Containers, KnownRunners, StreamStarts
from orchd.realtime.stream import Stream, StreamEnd
from orchd.sessions.letting_go import LettingGo
from orchd.tasks import cancel, spawn

log = structlog.get_logger("orchd.streams")

NOTHING_TO_STOP = (400, 404, 405, 410)
"""With these a container says that it carries no such stream. PyTrickle: 400 when none was started."""


class Fate(NamedTuple):
    """What becomes of a session when its container has stopped.

    Attributes:
        why: in words.
        word: the same for programs; empty = there is none.
    """

    outcome: Outcome
    why: str
    word: str = ""


class StreamEndings(StreamStarts):
    """Ends streams at their containers. The base of `Keeper`, which see."""

    def __init__(
        self, letting_go: LettingGo, store: StreamStore, containers: Containers, runners: KnownRunners
    ) -> None:
        super().__init__(store, containers, runners)
        self._letting_go = letting_go
        self.over = NamesOver()
        self.node_ends = NodeEnds()
        self.ending: Signal[Stream, str] = Signal()
        self.ended: Signal[StreamEnd] = Signal()
        self._stops: dict[Stream, asyncio.Task[Reply | None]] = {}
        self._fates: dict[Stream, Fate | None] = {}  # None = its session goes on.
        self._ended: dict[Stream, StreamEnd] = {}

    @property
    def over_at_node(self) -> Signal[ModelKey, str]:
        """See `Keeper`."""
        return self.node_ends.told

    async def close(self) -> None:
        self.node_ends.close()
        await cancel(*self._stops.values())
        await super().close()

    async def stop(self, stream: Stream, headers: Mapping[str, str], body: bytes) -> Reply | None:
        """Stop a stream as a caller has asked; return what its container said, None = nothing. Repeats are fine.

        Args:
            headers, body: of the caller's stop.
        """
        # A stop by BYOC comes from the node, which gives its slot back by itself.
        stream.node_knows |= stream.origin is Origin.BYOC
        fate = None if stream.origin.reserved else Fate(Outcome.OK, "it was stopped")
        return await asyncio.shield(self._begin_end(stream, fate, headers, body))

    def give_up_start(self, stream: Stream, outcome: Outcome, why: str) -> None:
        """End a stream whose start did not succeed, though its container may be at work on it. As `stop`."""
        if stream.live:
            self._begin_end(stream, None if stream.origin.reserved else Fate(outcome, why))

    async def end(self, stream: Stream, outcome: Outcome, why: str) -> None:
        """End a stream and its session, asking its container to stop. Repeats are fine."""
        await asyncio.shield(self._begin_end(stream, Fate(outcome, why)))

    def end_soon(self, stream: Stream, outcome: Outcome, why: str, word: str = "") -> None:
        """As `end`, without waiting; the requests in it are told `word`."""
        if self.goes_on(stream):
            self._begin_end(stream, Fate(outcome, why, word))

    def forget_left(self, key: ModelKey, name: str) -> asyncio.Task[None]:
        """Drop the record of a stream that an earlier orchd has left and that is to end when it is found again."""
        self.over.note(key, name, _now())
        return self._records.forget_soon(key, name)

    def goes_on(self, stream: Stream) -> bool:
        """Return whether its session has not begun to end, though its container may be stopping."""
        return stream.live or (stream in self._fates and self._fates[stream] is None)

    def request_ended(self, stream: Stream, cut: Cut) -> None:
        stream.riders.discard(cut)
        stream.sign_at = _now()
        self._tell_end(stream)
        self.node_ends.request_ended(stream)

    def _cut(self, stream: Stream, reason: str) -> None:
        """Its runner goes: nobody can be asked to stop any more. Called by the table, from inside a call of its own."""
        asyncio.get_running_loop().call_soon(lambda: self._finish(stream, Outcome.ABORTED, reason, confirmed=False))

    def _begin_end(
        self, stream: Stream, fate: Fate | None, headers: Mapping[str, str] = {}, body: bytes = b""
    ) -> asyncio.Future[Reply | None]:
        if stream in self._fates:
            self._fates[stream] = self._fates[stream] or fate
        if fate is not None:
            self._tell_ending(stream, fate.why)
            if stream.origin is Origin.SOLD:
                self._forget(stream)
                self._cut_riders(stream, fate.why, fate.word or Code.SESSION_ENDED)
        if (task := self._stops.get(stream)) is not None:
            return task
        if not stream.live or not stream.asked:
            if stream.live and fate is not None:
                self._finish(stream, *fate)
            elif stream.phase is StreamPhase.STARTING:
                self.streams.move(stream, StreamEvent.START_REFUSED)
            done: asyncio.Future[Reply | None] = asyncio.get_running_loop().create_future()
            done.set_result(None)
            return done
        self.streams.move(stream, StreamEvent.STOP_ASKED)
        stream.idle_since = None
        self._fates[stream] = fate
        task = self._stops[stream] = spawn(self._stop(stream, headers, body), name="end a stream")
        return task

    async def _stop(self, stream: Stream, headers: Mapping[str, str], body: bytes) -> Reply | None:
        model = self._runners.models().get(stream.key)
        reply, confirmed = None, False
        try:
            if (start := self._starts.get(stream)) is not None:
                await asyncio.wait({start})
            if model is not None and stream.phase is StreamPhase.ENDING:
                if not stream_routes(model, StreamCall.STOP, Learnt()):
                    # It ends by itself once its input has, which is not ours to end; see `_sweep`.
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
            if stream.idle_since is None or stream.origin is not Origin.SOLD:
                fate = self._fates.pop(stream)
        if fate is None and confirmed and stream.phase is StreamPhase.ENDING:
            self._go_on(stream)
        else:
            self._finish(stream, *(fate or Fate(Outcome.OK, "it was stopped")), confirmed=confirmed)
        return reply

    def _is_free(self, stream: Stream, why: str) -> None:
        """Its container is at work on it no more, though nobody has heard that it has stopped.

        A session that orchd has sold goes on, unless its end is what its container was stopped for.
        """
        fate = self._fates.pop(stream, None)
        if stream.origin is not Origin.SOLD or fate is not None:
            return self._finish(stream, *(fate or Fate(Outcome.OK, why)))
        if stream.phase is StreamPhase.RUNNING:
            self.streams.move(stream, StreamEvent.STOP_ASKED)
        return self._go_on(stream)

    def _go_on(self, stream: Stream) -> None:
        """Its container has stopped; its session is there for another start."""
        self.streams.move(stream, StreamEvent.STOPPED)
        stream.found, stream.idle_since = False, None
        self._unstarted(stream)
        log.info("stream_stopped", pipeline=stream.key.pipeline, model_id=stream.key.model_id, stream=stream.id)

    def _unstarted(self, stream: Stream) -> None:
        """Nothing of it is at its container; its session goes on. The node's is known to the node, ours to the disk."""
        stream.asked = False
        if stream.origin is Origin.SOLD:
            self._records.save_soon(stream)
        else:
            stream.kept = False
            self._records.forget_soon(stream.key, stream.id)

    def _cut_riders(self, stream: Stream, why: str, word: str = "") -> None:
        for cut in list(stream.riders):
            cut(why, word)

    def _forget(self, stream: Stream) -> None:
        """Drop its record, if there is one; repeats are fine."""
        if stream.kept and stream.forgetting is None:
            stream.forgetting = self._records.forget_soon(stream.key, stream.id)

    def _finish(self, stream: Stream, outcome: Outcome, why: str, word: str = "", *, confirmed: bool = True) -> None:
        """Free the slot, or let it go; once. `confirmed`: its container has said that it is not at work on it."""
        if stream.phase is StreamPhase.ENDED:
            return
        self._tell_ending(stream, why)
        self.streams.move(stream, StreamEvent.OVER)
        self.streams.drop(stream)
        if stream not in self._stops:
            self._fates.pop(stream, None)
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
        self._forget(stream)
        self._ended[stream] = StreamEnd(stream, outcome, why, stream.forgetting)
        self._cut_riders(stream, why, word)
        # They are cut in the loop's next turn, and then it is known what their runner may still be at work on.
        asyncio.get_running_loop().call_soon(self._free, stream, outcome)
        self._tell_end(stream)

    def _free(self, stream: Stream, outcome: Outcome) -> None:
        """Free the slot, or let it go; repeats are fine."""
        self._letting_go.end(stream.session, outcome)

    def _tell_ending(self, stream: Stream, why: str) -> None:
        """Say, once, that its session goes on no more."""
        if not stream.ends:
            stream.ends = True
            self.ending.emit(stream, why)

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
                self.node_ends.end(stream, after_riders=stream.phase is StreamPhase.ENDED)


def _now() -> float:
    return asyncio.get_running_loop().time()
