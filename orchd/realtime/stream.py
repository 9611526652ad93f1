"""One realtime session, and the table of those that there are. No await in it.

A stream holds one slot from its start (or its reservation at the node) to its end, over any number of requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field

from orchd.domain.changes import Changes
from orchd.domain.ids import ModelKey
from orchd.domain.origins import Origin
from orchd.domain.outcomes import Cut, Outcome
from orchd.domain.phases import StreamEvent, StreamPhase, next_phase
from orchd.realtime.session_channels import SessionChannels
from orchd.sessions.session import Session


@dataclass(eq=False, slots=True)
class Stream:
    """One realtime session.

    Attributes:
        id: as the node or the gateway names it; see `Streams.rename`.
        phase: moved by `Keeper` alone.
        began_date: Unix time when it began, taken once, so that it never wanders.
        began_at, sign_at, idle_since: loop clock, seconds. A sign of life is a request, a byte, or the container's word
            that it is busy; `idle_since` is the first of its words in a row that it is free, or, if a stream ends by
            itself, when it was told to end.
        used: a request was about it.
        starts: how often somebody has meant to start it; tells one start from the next.
        asked: its container was asked to start it, and may be at work on it.
        ran: its container has said yes to a start.
        ends: the end of its session has begun.
        kept: a record of it is on the disk, or will be in a moment.
        node_knows: the node was the first to know that it is over.
        request_at: loop clock, seconds, when the last request in it began.
        channels: those that orchd has had the node make for it; None = none, or their session's token is not known.
        found: it runs since an earlier orchd, which may have had channels made.
        riders: cuts each request that is under way.
        forgetting: drops its record; None = nobody does.
    """

    id: str
    key: ModelKey
    origin: Origin
    session: Session
    began_at: float
    sign_at: float
    phase: StreamPhase = StreamPhase.HELD
    idle_since: float | None = None
    began_date: float = 0.0
    used: bool = False
    starts: int = 0
    asked: bool = False
    ran: bool = False
    ends: bool = False
    kept: bool = False
    node_knows: bool = False
    request_at: float = 0.0
    channels: SessionChannels | None = field(default=None, repr=False)
    found: bool = False
    riders: set[Cut] = field(default_factory=set)
    forgetting: asyncio.Task[None] | None = field(default=None, repr=False)

    @property
    def live(self) -> bool:
        return self.phase not in (StreamPhase.ENDING, StreamPhase.ENDED)


class Streams:
    """All streams, by model and name.

    Attributes:
        changes: models whose streams, or a phase of theirs, have changed.
    """

    def __init__(self) -> None:
        self.changes: Changes[ModelKey] = Changes()
        self._named: dict[tuple[ModelKey, str], Stream] = {}
        self._all: dict[ModelKey, set[Stream]] = {}

    def __iter__(self) -> Iterator[Stream]:
        return iter([stream for streams in self._all.values() for stream in streams])

    def find(self, key: ModelKey, name: str) -> Stream | None:
        """Return the stream of that name that has not ended."""
        return self._named.get((key, name))

    def of(self, key: ModelKey) -> tuple[Stream, ...]:
        return tuple(self._all.get(key, ()))

    def count(self, key: ModelKey, origin: Origin) -> int:
        return sum(stream.origin is origin for stream in self._all.get(key, ()))

    def counts(self) -> dict[ModelKey, dict[str, int]]:
        """Return how many there are, by model and phase."""
        found: dict[ModelKey, dict[str, int]] = {}
        for stream in self:
            phases = found.setdefault(stream.key, {})
            phases[stream.phase] = phases.get(stream.phase, 0) + 1
        return found

    def add(self, stream: Stream) -> None:
        """Note a stream that begins.

        Raises:
            ValueError: one of that name runs.
        """
        if (stream.key, stream.id) in self._named:
            raise ValueError(f"cannot add stream {stream.id!r} of {stream.key}: it is there already")
        self._all.setdefault(stream.key, set()).add(stream)
        self._named[stream.key, stream.id] = stream
        self.changes.touch(stream.key)

    def move(self, stream: Stream, event: StreamEvent) -> None:
        """Note what has happened to a stream: it is in the phase that follows, as `domain.phases` says.

        Raises:
            IllegalMove: that can't happen to it now.
        """
        stream.phase = next_phase(stream.phase, event)
        self.changes.touch(stream.key)

    def rename(self, stream: Stream, name: str) -> None:
        """Let it be found under another name, which no other one has."""
        del self._named[stream.key, stream.id]
        stream.id = name
        self._named[stream.key, name] = stream
        self.changes.touch(stream.key)

    def drop(self, stream: Stream) -> None:
        """Forget it. One that is not there is fine."""
        if self._named.get((stream.key, stream.id)) is stream:
            del self._named[stream.key, stream.id]
        self.changes.touch(stream.key)
        left = self._all.get(stream.key, set())
        left.discard(stream)
        if not left:
            self._all.pop(stream.key, None)


@dataclass(frozen=True, slots=True)
class StreamEnd:
    """What the rest of orchd learns of a stream that has ended.

    Attributes:
        forgotten: done when no record of it is left on the disk. It is settled after that: the next orchd settles what
            it finds a record of. None = there was none.
    """

    stream: Stream
    outcome: Outcome
    why: str
    forgotten: asyncio.Task[None] | None = None
