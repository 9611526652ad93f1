"""Everything that can go wrong between orchd, the node and the containers, in any order, generated.

To look further: `ORCHD_TEST_CHAOS=100 pytest tests/chaos` tries so many orders, others each time.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from tests.chaos.jumping import run_jumping
from tests.chaos.steps import STEPS, TWICE
from tests.chaos.world import World, a_world
from tests.soak import examples

MORE = int(os.environ.get("ORCHD_TEST_CHAOS", "0"))
PAUSES_S = (None, None, 0.0, 3.0)
"""After a step; None = until all is quiet."""
HEALED_S = 130.0
"""What heals at most once a minute, and is looked at once a minute, has healed by then."""
STEADY_S = 70.0


Happening = tuple[str, int, float | None]
"""A step, what it picks, and the pause behind it."""

orders = st.permutations(sorted([*STEPS, *TWICE])).flatmap(
    lambda names: st.tuples(
        *(st.tuples(st.just(name), st.integers(0, 11), st.sampled_from(PAUSES_S)) for name in names)
    )
)


UNDOES = {
    "entry_is_put_back": "entry_is_taken_out",
    "models_recover": "model_falls_ill",
    "node_returns": "node_is_absent",
}
"""Steps that need another one right before them."""
_REST = sorted(STEPS.keys() - {"job_begins"}, key=lambda name: (UNDOES.get(name, name), name in UNDOES))
WALK: tuple[Happening, ...] = tuple((name, 0, None) for name in ("job_begins", *_REST))
"""Each step once, where it can happen: what the search finds must not decide whether all have been tried."""


class Story:
    """Attributes:
    happened: steps that did happen, over all orders.
    """

    def __init__(self) -> None:
        self.happened: Counter[str] = Counter()

    async def live(self, order: tuple[Happening, ...], *, on_chain: bool) -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with a_world(Path(folder), on_chain=on_chain) as world:
                await world.check()
                for name, pick, pause_s in order:
                    await self._step(world, name, pick)
                    world.at_any_time()
                    await (world.check() if pause_s is None else asyncio.sleep(pause_s))
                await self._end(world)

    async def _step(self, world: World, name: str, pick: int) -> None:
        world.story.append(f"{world.now:9.1f} s  {name} {pick}")
        self.happened[name] += await STEPS[name](world, pick)

    async def _end(self, world: World) -> None:
        """All is well again, and must stay so."""
        for name in ("node_returns", "models_recover", "entry_is_put_back", "everything_ends"):
            await self._step(world, name, 0)
            await world.check()
        await asyncio.sleep(HEALED_S)
        await world.stays_true(STEADY_S)


@pytest.mark.parametrize("chain", ["off-chain", "on-chain"])
def test_whatever_happens_the_registries_come_to_be_true_and_no_slot_is_lost(chain: str) -> None:
    story = Story()

    @settings(
        max_examples=MORE or examples(16),
        derandomize=not MORE,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )
    @example(order=WALK)
    @given(order=orders)
    def whatever_happens(order: tuple[Happening, ...]) -> None:
        run_jumping(story.live(order, on_chain=chain == "on-chain"))

    whatever_happens()
    never = STEPS.keys() - (+story.happened).keys()
    assert not never, f"never happened: {never}"
