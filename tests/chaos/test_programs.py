"""The three node programs take turns beside orchd, either side is killed, and what is offered is what can be served."""

from __future__ import annotations

import asyncio
import random
import tempfile
from pathlib import Path

import pytest

from tests.chaos.jumping import run_jumping
from tests.chaos.site import Program
from tests.chaos.turns import AGAIN_S, BATCH, CHECKED_S, RETURN_S, SESSION, SICKLY, Kind, Turns, some_turns
from tests.soak import examples

KINDS = [
    Kind(Program.GO_0_9),
    Kind(Program.GO_0_9, static=True),
    Kind(Program.GO_0_10),
    Kind(Program.GO_0_10, static=True),
    Kind(Program.NODE_1_0_0),
]
STEPS = 6
PAUSES_S = (0.0, 0.1, 0.7, 4, 40)
"""Between the end of a process and the next start in its place. Some restarts are shorter than orchd's look."""


class Story:
    def __init__(self, turns: Turns, seed: int) -> None:
        self.turns = turns
        self.random = random.Random(seed)

    # What happens to the node.

    async def _take_turns(self, program: Program) -> None:
        turns, before = self.turns, self.turns.site.program
        pause_s = self.random.choice(PAUSES_S)
        await turns.site.end(politely=self.random.random() < 0.5)
        await asyncio.sleep(pause_s)
        await turns.site.start(program)
        # Livepeer Node shows a start only by what it has forgotten, and after its 30 s it forgets without one.
        if before.is_livepeer_node and program.is_livepeer_node and (turns.kind.static or pause_s > 20):
            turns.unproved += 1
        else:
            turns.seen += 1

    async def node_restarts(self) -> None:
        await self._take_turns(self.turns.site.program)
        await self.turns.check(AGAIN_S)

    async def node_is_upgraded(self) -> None:
        await self._take_turns(self.turns.site.program.upgraded)
        await self.turns.check(AGAIN_S)

    async def node_is_replaced(self) -> None:
        others = [program for program in Program if program is not self.turns.site.program]
        await self._take_turns(self.random.choice(others))
        await self.turns.check(AGAIN_S)

    # What happens to orchd.

    async def orchd_restarts(self) -> None:
        turns = self.turns
        await (turns.orchd.stop if self.random.random() < 0.5 else turns.orchd.kill)()
        if self.random.random() < 0.3:
            await self._take_turns(self.random.choice(list(Program)))
        await asyncio.sleep(self.random.choice(PAUSES_S))
        await turns.orchd.start()
        turns.seen, turns.unproved = 1, 0
        await turns.check(RETURN_S)

    # What happens to models and their jobs.

    async def job(self) -> None:
        """It is there while the next thing happens."""
        if self.turns.shelf.work(BATCH):
            await self.turns.end_jobs()
        if self.turns.unspoken:
            return
        await self.turns.live_job(BATCH)
        if self.turns.site.program is Program.GO_0_9 and self.random.random() < 0.5:
            await self.turns.byoc_job(BATCH)
        await self.turns.check(AGAIN_S)

    async def session(self) -> None:
        if self.turns.taken(SESSION):
            await self.turns.end_sessions()
        elif str(SESSION) in self.turns.site.runners():
            await self.turns.session()
        await self.turns.check(AGAIN_S)

    async def model_falls_ill_or_recovers(self) -> None:
        self.turns.shelf.sick ^= {SICKLY}
        await self.turns.check(RETURN_S)

    async def live(self) -> None:
        turns = self.turns
        node = [self.node_restarts, self.node_is_upgraded, self.node_is_replaced, self.orchd_restarts]
        models = [self.job, self.session, self.model_falls_ill_or_recovers]
        await turns.check(RETURN_S)
        for number in range(STEPS):
            happening = self.random.choice(models if number % 2 else node)
            turns.story.append(f"{turns.now:9.2f} s  {happening.__name__}")
            await happening()
        await turns.end_jobs()
        await turns.end_sessions()
        turns.shelf.sick.clear()
        await turns.check(RETURN_S)
        await turns.stays_true(CHECKED_S)


@pytest.mark.soak
@pytest.mark.parametrize("kind", KINDS, ids=str)
@pytest.mark.parametrize("seed", range(examples(100, share=0.1)))
def test_whatever_program_is_there_what_is_offered_can_be_served_and_nothing_is_doubted(kind: Kind, seed: int) -> None:
    async def live() -> None:
        with tempfile.TemporaryDirectory() as folder:
            async with some_turns(Path(folder), kind) as turns:
                await Story(turns, seed).live()

    run_jumping(live())
