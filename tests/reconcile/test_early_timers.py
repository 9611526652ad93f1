"""Event loops round their timers: one that fires a little early must not have the reconcile loop turn for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from tests.reconcile.world import World
from tests.virtual_time import VirtualLoop

EARLY_S = 0.0005
"""uvloop rounds to whole milliseconds."""
MOST_TIMERS = 20_000


class EarlyLoop(VirtualLoop):
    """Its timers fire early. `timers`: how many were set."""

    def __init__(self) -> None:
        super().__init__()
        self.timers = 0

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., Any], *args: Any, **more: Any
    ) -> asyncio.TimerHandle:
        self.timers += 1
        assert self.timers < MOST_TIMERS, "somebody waits again and again for the same moment"
        return super().call_at(max(self.now, when - EARLY_S), callback, *args, **more)


def test_the_loop_does_not_turn_until_a_time_has_come_that_its_timer_came_before() -> None:
    async def minutes() -> int:
        world = World()
        async with world.orchd():
            await asyncio.sleep(300)
            return world.loop.planner.counts.turns

    with asyncio.Runner(loop_factory=EarlyLoop) as runner:
        turns = runner.run(minutes())
    assert turns <= 4 * 300 / World().settings.reconcile.period_s
