"""Sold sessions in any order of what may happen to them: slots are exact, and each session is settled once."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import Any

import pytest

from orchd.domain.model import StreamSpec
from orchd.domain.outcomes import Outcome
from orchd.errors import Code, JobRefused
from orchd.hooks.account import Account
from orchd.hooks.hook import Waits
from orchd.hooks.usage import Usage
from orchd.realtime.container import ContainerSilent, Reply
from orchd.realtime.routes import StreamCall
from orchd.sold.keeper import LOOK_S
from orchd.tasks import cancel, spawn
from tests.fakes.stored import FakeStreamStore
from tests.fakes.streams import FakeContainers
from tests.jobs.fakes import Bench
from tests.jobs.messages import answer, request
from tests.jobs.model import ADDRESS, KEY, a_model, runner_of
from tests.jobs.test_reserve import SLUG, Paid, app, reserve
from tests.jobs.test_sold_restart import copied, store_of
from tests.relay.transport import FakeTransport
from tests.soak import examples
from tests.virtual_time import virtual_time

MODEL = a_model(persistent=True, session_idle_s=20.0, max_sessions=2, stream=StreamSpec(post_starts_stream=True))
MANIFESTS = ("m1", "m2", "m3")
STEPS = 40


class Purse(Paid):
    """Charges until its credit is used up, and refuses some payments.

    Attributes:
        closed: how often each account was settled.
        broke: ids of accounts without credit.
    """

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self.chance = chance
        self.closed: Counter[str] = Counter()
        self.broke: set[str] = set()

    def does(self, call: str, session: object = None) -> Waits:
        return self._answer(call) if call in ("identify", "admit") else None

    async def _answer(self, call: str) -> None:
        for _ in range(self.chance.randrange(3)):
            await asyncio.sleep(0)
        if call == "admit" and self.chance.random() < 0.1:
            raise JobRefused(Code.PAYMENT_REQUIRED, "cannot begin: it is not paid for")

    def charge(self, account: Account, used: float) -> Waits:
        if account.id in self.broke:
            raise JobRefused(Code.PAYMENT_REQUIRED, "cannot go on: its credit is used up")
        return None

    def settle(self, account: Account, outcome: Outcome, usage: Usage) -> Waits:
        self.closed[account.id] += 1
        return None


class Life:
    """One seed's clients, containers and restarts."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.seen: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()
        self.callers: list[FakeTransport] = []
        self.begin(FakeStreamStore())

    def begin(self, store: FakeStreamStore) -> None:
        self.purse = Purse(self.chance)
        self.bench = Bench(models=(MODEL,), hooks=[self.purse], store=store, is_open=False)
        self.bench.table.set_closed(KEY, startable=True, code=Code.NOT_READY, reason="it is looked at")
        self.callers.clear()
        self.tasks = [
            spawn(self.bench.keeper.run(), name="sweep streams"),
            spawn(self.bench.sold.run(), name="look at sessions"),
        ]

    async def restart(self) -> None:
        """A new orchd finds what this one has left; the runner is there, or comes later."""
        bench = self.bench
        await cancel(*self.tasks)
        await bench.server.close()
        await bench.keeper.close()
        self.closed += self.purse.closed
        left = copied(store_of(bench))
        self.begin(left)
        await self.bench.keeper.restore()
        self.bench.sold.restore()
        assert {session.id for session in self.bench.sold.all()} == {name for _, name in left.kept}

    def open(self) -> None:
        self.bench.table.open(runner_of(KEY), ADDRESS, None)

    def close(self, *, gone: bool) -> None:
        self.bench.table.close(runner_of(KEY), Code.NOT_READY, "it is not well")
        if gone:
            self.bench.table.abort(runner_of(KEY), "it is gone")

    async def step(self) -> None:
        chance, bench = self.chance, self.bench
        name = chance.choice(MANIFESTS)
        live = bench.sold.find(name)
        match chance.randrange(14):
            case 0 | 1:
                self.callers.append(bench.caller(reserve(name)))
            case 2 | 3:
                self.callers.append(bench.caller(app(name)))
            case 4:
                call = chance.choice(("start", "stop"))
                target = f"{SLUG}/session/{name}/app/stream/{call}"
                self.callers.append(bench.caller(request(target=target, body=b"{}")))
            case 5 if live is not None:
                live.end(Outcome.OK, "its client has stopped it")
            case 6 if live is not None:
                bench.sold.touch(live)
            case 7 if live is not None:
                self.purse.broke.add(live.account)
            case 8 if self.callers:
                self.callers.pop(chance.randrange(len(self.callers))).lose()
            case 9:
                self.open()
            case 10 if chance.random() < 0.5:
                self.close(gone=chance.random() < 0.5)
            case 11:
                bench.network.reply = chance.choice((None, answer()))
                assert isinstance(bench.keeper.containers, FakeContainers)
                said = chance.choice((Reply(200, (), b"{}"), Reply(404, (), b""), ContainerSilent("says nothing")))
                bench.keeper.containers.answers[StreamCall.STOP] = said
            case 12 if chance.random() < 0.3:
                await self.restart()
            case _:
                await asyncio.sleep(chance.choice((0.1, 1.0, 1.0, 5.0, 30.0)))
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        self.bench.network.turn()
        self.check()

    def check(self) -> None:
        bench, table = self.bench, self.bench.table
        sessions = bench.sold.all()
        assert (table.free(KEY) or 0) + table.active(KEY) <= MODEL.max_sessions
        assert table.active(KEY) <= MODEL.max_sessions
        carried = {each.stream for each in sessions if each.stream is not None}
        assert set(bench.keeper.streams) <= carried, "a stream that no session knows"
        assert all(each.stream is not None or each.pending or each.slot is None for each in sessions)
        assert len({each.account for each in sessions}) == len(sessions)
        self.seen.update(each.state for each in sessions)

    async def over(self) -> None:
        """Nothing new happens: what nobody uses comes to its end."""
        self.open()
        for caller in self.callers:
            caller.lose()
        for end in self.bench.network.ends:
            end.lose()
        await asyncio.sleep(300 + 2 * LOOK_S)
        await self.bench.idle()
        assert self.bench.sold.all() == []
        assert (self.bench.table.active(KEY), self.bench.table.free(KEY)) == (0, MODEL.max_sessions)
        assert store_of(self.bench).kept == {}
        self.closed += self.purse.closed
        assert set(self.closed.values()) <= {1}, "settled more than once"
        admitted = {job.account_id for job in self.purse.admitted if not job.in_session}
        assert admitted <= set(self.closed), "not settled"
        await cancel(*self.tasks)
        await self.bench.server.close()


@pytest.mark.soak
def test_in_whatever_order_slots_are_exact_and_each_session_is_settled_once() -> None:
    seen: Counter[Any] = Counter()

    @virtual_time
    async def run(seed: int) -> None:
        life = Life(seed)
        life.open()
        for _ in range(STEPS):
            await life.step()
        await life.over()
        seen.update(life.seen)

    for seed in range(examples(400, share=0.06)):
        run(seed)
    assert min(seen[state] for state in ("pending", "active", "ending")) > 0
