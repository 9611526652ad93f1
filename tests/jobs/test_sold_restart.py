"""Sold sessions over a restart: they, their accounts and their tokens live on, and nobody pays for the time between."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import Any

import pytest
import structlog

from orchd.domain.ids import ModelKey
from orchd.domain.outcomes import Outcome
from orchd.domain.phases import StreamPhase
from orchd.domain.stores import StoredStream
from orchd.errors import Code, StoreError
from orchd.hooks.account import Account
from orchd.hooks.hook import Waits
from orchd.hooks.job import Job
from orchd.hooks.open_accounts import OpenAccounts
from orchd.hooks.usage import Usage
from orchd.sold.live import LiveSession
from orchd.tasks import cancel, spawn
from tests.fakes.accounts import FakeAccountDatabase
from tests.fakes.stored import FakeStreamStore
from tests.jobs.fakes import Bench
from tests.jobs.model import KEY, a_model, runner_of
from tests.jobs.test_crash import a_database, turns
from tests.jobs.test_reserve import Paid, app, reserve, reserved
from tests.virtual_time import virtual_time

MODEL = a_model(persistent=True, session_idle_s=30.0)


class LateStore(FakeStreamStore):
    """What is written is on the disk some turns later, in order."""

    async def save_stream(self, stream: StoredStream) -> None:
        await turns(2)
        await super().save_stream(stream)

    async def forget_stream(self, key: object, id: str) -> None:
        await turns(2)
        await super().forget_stream(KEY, id)


def copied(store: FakeStreamStore) -> FakeStreamStore:
    """Return what a crash leaves of it."""
    left = FakeStreamStore()
    left.kept = dict(store.kept)
    return left


async def next_orchd(store: FakeStreamStore, **knobs: Any) -> Bench:
    """Start again with what is left; no runner has been looked at yet."""
    given: dict[str, Any] = {"models": (MODEL,), "hooks": [Paid()], "store": store, "is_open": False}
    bench = Bench(**given | knobs)
    bench.table.set_closed(KEY, startable=False, code=Code.NOT_READY, reason="it is looked at")
    await bench.keeper.restore()
    bench.sold.restore()
    return bench


async def restarted(**knobs: Any) -> tuple[Bench, Bench]:
    """Return an orchd in which a session was reserved, and the next one."""
    store = FakeStreamStore()
    first = Bench(models=(MODEL,), hooks=[Paid()], store=store)
    await reserved(first)
    await first.handler.close()
    return first, await next_orchd(copied(store), **knobs)


@virtual_time
async def test_a_session_is_known_before_its_runner_is_looked_at_and_keeps_its_slot_account_and_token() -> None:
    first, second = await restarted()
    before, session = first.sold.find("m1"), second.sold.find("m1")
    assert before is not None
    assert session is not None
    assert (session.payer, session.account, session.fixed, session.pending) == (
        *(before.payer, before.account, before.fixed),
        False,
    )
    assert second.sold.of_account(before.account) is session
    assert second.sold.token(session) == first.sold.token(before)
    assert second.table.free(KEY) == 0, "its slot is taken"
    second.open()
    await second.settle()
    stream = second.keeper.streams.find(KEY, "m1")
    assert stream is not None
    assert stream.phase is StreamPhase.HELD
    assert stream.session.account is not None
    assert stream.session.account.id == before.account
    second_caller = await second.serve(app())
    assert second_caller.messages[0].status == 200


@virtual_time
async def test_a_call_waits_ten_seconds_for_the_runner_of_its_session_and_gets_503_then() -> None:
    _, bench = await restarted()
    early, late = bench.caller(app()), bench.caller(app())
    await asyncio.sleep(9)
    await bench.settle()
    assert (early.messages, late.messages) == ([], [])
    late = bench.caller(app())
    await asyncio.sleep(2)
    await bench.settle()
    assert early.messages[0].status == 503
    assert early.messages[0].header("Retry-After") == "1"
    bench.open()
    await bench.idle()
    assert late.messages[0].status == 200


@virtual_time
async def test_a_session_whose_runner_does_not_come_back_ends_and_is_then_unknown() -> None:
    _, bench = await restarted()
    ended: list[str] = []
    bench.sold.ended.connect(lambda session, why: ended.append(session.id))
    sweeping = spawn(bench.keeper.run(), name="sweep")
    await asyncio.sleep(200)
    await cancel(sweeping)
    assert (ended, bench.sold.find("m1")) == (["m1"], None)
    caller = await bench.serve(app())
    assert caller.messages[0].status == 404


@virtual_time
async def test_who_stops_a_session_that_is_not_found_again_yet_ends_it() -> None:
    _, bench = await restarted()
    session = bench.sold.find("m1")
    assert session is not None
    session.end(Outcome.OK, "its client has stopped it")
    assert session.ending
    bench.open()
    await bench.idle()
    assert bench.sold.find("m1") is None
    assert bench.table.active(KEY) == 0
    assert await bench.keeper._records._store.streams() == ()


@virtual_time
async def test_one_that_was_stopped_before_it_was_found_again_is_not_there_after_a_second_restart() -> None:
    _, bench = await restarted()
    session = end(bench)
    assert session is not None
    await bench.sold.forgotten(session, 2.0)
    third = await next_orchd(copied(store_of(bench)))
    assert third.sold.find("m1") is None


class TroubledStore(FakeStreamStore):
    """Its disk is slow for so many seconds, or broken for good."""

    slow_s = 0.0
    broken = False

    async def forget_stream(self, key: ModelKey, id: str) -> None:
        await asyncio.sleep(self.slow_s)
        if self.broken:
            raise StoreError("cannot write the database: disk I/O error")
        await super().forget_stream(key, id)


@pytest.mark.parametrize(
    ("slow_s", "broken", "after_s", "told"),
    [
        (0.0, False, 0.0, []),
        (1.0, False, 1.0, []),
        (9.0, False, 2.5, ["session_stays_on_disk"]),
        (0.0, True, 0.0, ["stream_not_forgotten"]),
    ],
)
def test_who_stops_a_session_waits_for_the_disk_but_not_for_long(
    slow_s: float, broken: bool, after_s: float, told: list[str]
) -> None:
    @virtual_time
    async def run() -> None:
        store = TroubledStore()
        store.slow_s, store.broken = slow_s, broken
        bench = Bench(models=(MODEL,), hooks=[Paid()], store=store)
        await reserved(bench)
        began = asyncio.get_running_loop().time()
        session = end(bench)
        assert session is not None
        with structlog.testing.capture_logs() as logs:
            await bench.sold.forgotten(session, 2.5)
        assert asyncio.get_running_loop().time() - began == pytest.approx(after_s, abs=0.01)
        assert [line["event"] for line in logs if line["log_level"] != "info"] == told
        await bench.idle()

    run()


@virtual_time
async def test_time_counts_from_the_first_answer_after_the_restart() -> None:
    _, bench = await restarted()
    session = bench.sold.find("m1")
    assert session is not None
    bench.open()
    await asyncio.sleep(5)
    bench.sold.look()
    assert bench.sold.served_ns(session) == 0
    await bench.serve(app())
    bench.sold.look()
    await asyncio.sleep(3)
    assert bench.sold.served_ns(session) == 3 * 10**9


@virtual_time
async def test_a_top_up_is_a_first_sign_of_life_too() -> None:
    _, bench = await restarted()
    session = bench.sold.find("m1")
    assert session is not None
    bench.open()
    bench.sold.touch(session)
    await asyncio.sleep(4)
    assert bench.sold.served_ns(session) == 4 * 10**9


@virtual_time
async def test_a_session_that_nobody_uses_after_a_restart_ends_by_its_idle_time_and_not_sooner() -> None:
    _, bench = await restarted()
    await asyncio.sleep(60)
    bench.sold.look()
    session = bench.sold.find("m1")
    assert session is not None
    assert not session.ending, "nobody can use it"
    bench.open()
    await asyncio.sleep(29)
    bench.sold.look()
    assert not session.ending
    await asyncio.sleep(2)
    bench.sold.look()
    await bench.idle()
    assert bench.sold.find("m1") is None


class Booking(Paid):
    """Books each payment on its session, and says what it has settled."""

    def __init__(self) -> None:
        super().__init__(waits={"identify"})
        self.booked: Counter[str] = Counter()
        self.closed: Counter[str] = Counter()

    async def _book(self, job: Job) -> None:
        await turns(1)
        self.booked[job.session_id] += 1
        await turns(1)

    def admit(self, job: Job) -> Waits:
        return None if job.in_session else self._book(job)

    def settle(self, account: Account, outcome: Outcome, usage: Usage) -> Waits:
        self.closed[account.id] += 1
        return None


@pytest.mark.parametrize("ends", [False, True])
def test_whenever_orchd_dies_who_was_answered_has_a_session_and_nothing_is_settled_twice(ends: bool) -> None:
    @virtual_time
    async def run() -> None:
        seen: Counter[str] = Counter()
        for step in range(40):
            with a_database() as database:
                bench = Bench(models=(MODEL,), hooks=[Booking()], store=LateStore(), books=OpenAccounts(database))
                answered, over, told = await client(bench, step, ends=ends)
                left, rows, closed = copied(store_of(bench)), database.rows, booking(bench).closed.copy()
                with a_database(rows) as kept:
                    again = await after_crash(left, kept)
                    lives = again.sold.find("m1") is not None
                    if answered and not over:
                        assert lives, f"died at step {step}"
                        assert (await again.serve(app())).messages[0].status == 200
                    assert not (told and lives), f"stopped, told so, and back: died at step {step}"
                    seen["lives" if lives else "gone"] += 1
                    seen["told"] += told
                    await all_over(again)
                    assert kept.rows == []
                    twice = (closed + booking(again).closed).most_common(1)
                    assert not twice or twice[0][1] == 1 or over, f"died at step {step}"
                await all_over(bench)
        assert min(seen["lives"], seen["gone"]) > 2, "both have been tried"
        assert (seen["told"] > 2) is ends

    run()


async def client(bench: Bench, step: int, *, ends: bool) -> tuple[bool, bool, bool]:
    """Reserve, ride and maybe stop, for so many turns; return whether there was an answer, a stop, and its answer."""
    caller = bench.caller(reserve())
    rides = over = False
    stopping: asyncio.Task[None] | None = None
    for _ in range(step):
        await turns(1)
        bench.network.turn()
        if caller.messages and not rides:
            rides = True
            bench.caller(app())
        elif ends and not over and bench.network.requests:
            over = True
            session = end(bench)
            assert session is not None
            stopping = spawn(bench.sold.forgotten(session, 2.0), name="stop")
    return bool(caller.messages), over, stopping is not None and stopping.done()


def end(bench: Bench) -> LiveSession | None:
    if (session := bench.sold.find("m1")) is not None:
        session.end(Outcome.OK, "its client has stopped it")
    return session


async def all_over(bench: Bench) -> None:
    """End what lives; nothing is left then."""
    await bench.idle()
    end(bench)
    await bench.idle()
    assert (bench.table.active(KEY), bench.sold.all(), store_of(bench).kept) == (0, [], {})


def store_of(bench: Bench) -> FakeStreamStore:
    store = bench.keeper._records._store
    assert isinstance(store, FakeStreamStore)
    return store


def booking(bench: Bench) -> Booking:
    (hook,) = bench.hooks
    assert isinstance(hook, Booking)
    return hook


async def after_crash(left: FakeStreamStore, database: FakeAccountDatabase) -> Bench:
    books = OpenAccounts(database)
    await books.load()
    bench = await next_orchd(left, hooks=[Booking()], books=books)
    bench.server.settle_left(bench.keeper.expected_accounts())
    bench.open()
    await bench.settle()
    return bench


@virtual_time
async def test_a_started_stream_is_found_running_and_a_stopped_one_is_not() -> None:
    store = FakeStreamStore()
    store.kept[KEY, "m1"] = StoredStream("m1", "sold", runner_of(KEY), 5.0, None, started=True)
    store.kept[KEY, "m2"] = StoredStream("m2", "sold", runner_of(KEY), 5.0, None, started=False)
    bench = await next_orchd(store, models=(a_model(persistent=True, max_sessions=2),))
    bench.open()
    phases = {stream.id: stream.phase for stream in bench.keeper.streams}
    assert phases == {"m1": StreamPhase.RUNNING, "m2": StreamPhase.HELD}
    session = bench.sold.find("m1")
    assert session is not None
    assert (session.payer, session.account) == ("", "")
