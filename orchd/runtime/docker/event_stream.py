"""Follows the engine's events about our containers, over as many connections as it takes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import structlog

from orchd.errors import EngineUnavailable
from orchd.runtime.docker.engine import Engine

log = structlog.get_logger("orchd.runtime")

EVENTS = ("start", "die", "oom", "pause", "unpause", "destroy")
"""The events that hurry the loop: words of a metric's label."""
_RECONNECT_MIN_S, _RECONNECT_MAX_S = 1.0, 30.0


async def follow_events(
    engine: Engine, label: str, noted: Callable[[str, str], None], hurry: Callable[[], None]
) -> None:
    """Run until cancelled.

    Args:
        label: that our containers bear.
        noted: called with an event's word and the container that it is about.
        hurry: called after each event, and when some may have been missed.
    """
    loop = asyncio.get_running_loop()

    def taken(event: str, handle: str) -> None:
        noted(event, handle)
        hurry()

    def take(message: dict[str, Any]) -> None:  # From the thread that reads.
        loop.call_soon_threadsafe(taken, message["Action"], message["Actor"]["ID"])

    pause, told = _RECONNECT_MIN_S, ""
    while True:
        began = loop.time()
        lost = "it ended"
        try:
            await engine.events(label, EVENTS, take)
        except EngineUnavailable as error:
            lost = error.message
        lasted = loop.time() - began > _RECONNECT_MAX_S
        if lasted or lost != told:  # not at every try while the engine is away
            log.warning("event_stream_lost", why=lost)
        told = lost
        pause = _RECONNECT_MIN_S if lasted else min(2 * pause, _RECONNECT_MAX_S)
        await asyncio.sleep(pause)
        hurry()  # for what was missed meanwhile
