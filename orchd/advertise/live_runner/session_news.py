"""What is heard of the node's sessions on one runner, passed on to those who keep streams.

Answers to heartbeats name all sessions and are believed; the event channel is only faster (`event_channel`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from orchd.advertise.live_runner import event_channel
from orchd.advertise.live_runner.event_channel import ChannelEnd, SessionEvent
from orchd.advertise.registry import RegistryContext
from orchd.domain.ids import ModelKey
from orchd.domain.model import Secret
from orchd.tasks import cancel, spawn

log = structlog.get_logger("orchd.live_runner")

SWEEP_S = 5.0
"""How often the node looks for runners of which it has not heard for their TTL; then their sessions end."""


class SessionNews:
    """The sessions of one model.

    Args:
        readers: as many channels are read at once as it lets in; who waits for it learns by the next heartbeat.
        hear: called with each event before others are told.
        over: called with the URL of a channel that is not to be read again.
    """

    def __init__(
        self,
        key: ModelKey,
        context: RegistryContext,
        readers: asyncio.Semaphore,
        hear: Callable[[SessionEvent], None],
        over: Callable[[Secret], None],
    ) -> None:
        self._key = key
        self._context = context
        self._readers = readers
        self._hear = hear
        self._over = over
        self._following: tuple[Secret, asyncio.Task[None]] | None = None
        self._listed_at: float | None = None
        self._jobs: frozenset[str] = frozenset()
        self._sessions: frozenset[str] = frozenset()

    async def follow(self, channel: Secret | None) -> None:
        """Listen to this event channel, and to no other."""
        if self._following is not None:
            if self._following[0] == channel:
                return
            await cancel(self._following[1])
            self._following = None
        if channel is not None:
            self._following = channel, spawn(self._listen(channel), name=f"live runner events {self._key}")

    async def _listen(self, channel: Secret) -> None:
        async with self._readers:
            end = await event_channel.follow(self._context.node.calls, channel, self._heard)
        name = {"pipeline": self._key.pipeline, "model_id": self._key.model_id}
        log.info("session_events_over", **name, why=end, next="sessions are heard of by heartbeats alone")
        self._over(channel)
        if end is ChannelEnd.GONE:
            self._context.node.watch.suspect()

    def _heard(self, event: SessionEvent) -> None:
        self._hear(event)
        tell = self._context.sessions.reserved if event.begins else self._context.sessions.released
        tell(self._key, event.session)

    def listed(self, sessions: frozenset[str], asked_at: float, *, persistent: bool) -> None:
        """The node has answered a heartbeat with all sessions that it has on the runner.

        A single-shot request is in the list, too, and takes a slot of its own, by itself. What began before the model's
        mode has changed goes on as it was.

        Args:
            asked_at: when the heartbeat was sent (loop clock).
            persistent: the model's sessions outlive a request, as the node had it until this heartbeat.
        """
        self._listed_at = asked_at
        if persistent:
            self._jobs &= sessions
            self._sessions = sessions - self._jobs
        else:
            self._sessions &= sessions
            self._jobs = sessions - self._sessions
        self._context.sessions.listed(self._key, self._sessions, asked_at)

    def forgotten(self, asked_at: float) -> None:
        """The node does not know the runner any more, and has ended its sessions."""
        self._listed_at = None
        self._sessions = self._jobs = frozenset()
        self._context.sessions.forgotten(self._key, asked_at)

    def unheard(self, now: float, ttl_s: float) -> None:
        """The node has not taken a heartbeat.

        Args:
            ttl_s: after so many seconds without one it ends the sessions, if it lives.
        """
        if self._listed_at is not None and now - self._listed_at > ttl_s + SWEEP_S:
            self.forgotten(now)
