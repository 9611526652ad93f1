"""Exactly once: whoever leaves at whatever step, and whenever orchd dies, each account is settled."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pytest
import structlog

from orchd.domain.outcomes import Outcome
from orchd.errors import Code
from orchd.hooks.account import Account
from orchd.hooks.hook import Waits
from orchd.hooks.job import Job
from orchd.hooks.open_accounts import WRITE_S, OpenAccounts
from orchd.hooks.usage import Usage
from orchd.tasks import cancel, spawn
from tests.fakes.accounts import FakeAccountDatabase
from tests.fakes.stored import FakeStreamStore
from tests.jobs.fakes import Bench, FakeHook, session_of
from tests.jobs.messages import ONE, answer, request
from tests.jobs.test_accounts import STREAMING, start
from tests.virtual_time import virtual_time

STEPS = 30
"""More turns of the loop than a job takes here from its head to its end."""


@dataclass
class Taking(FakeHook):
    """Takes something for each job, as a hook with a table of its own would.

    Attributes:
        took: ids of the accounts for which it has.
        closed: what was settled, by account.
    """

    took: list[str] = field(default_factory=list)
    closed: list[tuple[Account, Outcome, Usage]] = field(default_factory=list)

    def admit(self, job: Job) -> Waits:
        assert session_of(job) is not None
        return self._take(job)

    async def _take(self, job: Job) -> None:
        await asyncio.sleep(0)
        self.took.append(job.account_id)
        job.note("taking.what", "5")
        await asyncio.sleep(0)

    def settle(self, account: Account, outcome: Outcome, usage: Usage) -> Waits:
        self.closed.append((account, outcome, usage))
        return asyncio.sleep(0)

    @property
    def times(self) -> Counter[str]:
        """How often each account was settled."""
        return Counter(account.id for account, _, _ in self.closed)


@contextmanager
def a_database(rows: list[tuple[str, str, float]] | None = None) -> Iterator[FakeAccountDatabase]:
    database = FakeAccountDatabase(rows)
    try:
        yield database
    finally:
        database.close()


async def turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def next_orchd(rows: list[tuple[str, str, float]], hook: Taking) -> list[tuple[str, str, float]]:
    """Start again with what a crash has left; return what is left after that."""
    with a_database(rows) as database:
        books = OpenAccounts(database)
        await books.load()
        bench = Bench(hooks=[hook], books=books)
        bench.server.settle_left(set())
        await bench.handler.idle()
        return database.rows


@pytest.mark.parametrize("how", ["lose", "abort"])
@pytest.mark.parametrize("kept", [False, True])
def test_whoever_leaves_at_whatever_step_each_session_is_settled_once(how: str, kept: bool) -> None:
    @virtual_time
    async def run() -> None:
        for step in range(STEPS):
            with a_database() as database:
                hook = Taking()
                bench = Bench(hooks=[hook], books=OpenAccounts(database) if kept else None)
                caller = bench.caller(request(body=b"x"))
                await turns(step)
                caller.lose() if how == "lose" else bench.handler.abort_all("a rehearsal")
                await bench.idle()
                began = len(bench.table.sessions)
                assert sum(hook.times.values()) == len(hook.times) == began, f"at step {step}"
                assert set(hook.took) <= set(hook.times)
                assert database.rows == []
                assert bench.table.sessions == [] or bench.table.sessions[0].outcome is not None

    run()


def test_whenever_orchd_dies_what_a_hook_took_is_settled() -> None:
    @virtual_time
    async def run() -> None:
        seen: Counter[str] = Counter()
        for step in range(STEPS):
            with a_database() as database:
                hook, later = Taking(), Taking()
                bench = Bench(hooks=[hook], books=OpenAccounts(database))
                bench.caller(request(body=b"x"))
                for _ in range(step):
                    await turns(1)
                    bench.network.turn()
                left, took, settled = database.rows, set(hook.took), set(hook.times)
                assert await next_orchd(left, later) == []
                assert took <= settled | set(later.times), f"died at step {step}"
                assert later.times == Counter(id for id, _, _ in left)
                seen["lost"] += len(later.times)
                seen["by its first life"] += len(settled - set(later.times))
                for account, outcome, usage in later.closed:
                    assert (outcome, usage.first_byte_s) == (Outcome.ABORTED, None)
                    assert not account.admitted or account.note("taking.what") == "5"
                await bench.idle()
        assert min(seen["lost"], seen["by its first life"]) > 2, "both have been tried"

    run()


@virtual_time
async def test_a_job_that_dies_with_orchd_is_settled_with_what_it_was_last_known_to_have_used() -> None:
    with a_database() as database:
        books = OpenAccounts(database)
        writing = spawn(books.run(), name="books")
        bench = Bench(hooks=[Taking()], books=books)
        bench.network.reply = None
        bench.caller(request(body=b"x"))
        await asyncio.sleep(2 * WRITE_S + 3)
        left = database.rows
        bench.network.reply = answer()
        await bench.idle()
        await cancel(writing)
    hook = Taking()
    assert await next_orchd(left, hook) == []
    ((account, outcome, usage),) = hook.closed
    assert (account.admitted, outcome) == (True, Outcome.ABORTED)
    assert 2 * WRITE_S - 2 < usage.seconds <= 2 * WRITE_S + 3
    assert usage.units > 0


@virtual_time
async def test_a_job_whose_account_can_not_be_kept_is_refused_and_its_runner_sees_nothing() -> None:
    with a_database() as database:
        database.fails = True
        hook = Taking()
        bench = Bench(hooks=[hook], books=OpenAccounts(database))
        caller = await bench.serve(request(body=b"x"))
        assert caller.messages[0].status == 503
        assert (bench.codes, hook.took, bench.network.dialled) == ([Code.HOOK_FAILED], [], [])
        assert len(hook.closed) == 1


@pytest.mark.parametrize("found", [True, False])
def test_a_stream_has_one_account_over_a_restart_and_is_not_charged_for_the_time_between(found: bool) -> None:
    @virtual_time
    async def run() -> None:
        store = FakeStreamStore()
        with a_database() as database:
            books = OpenAccounts(database)
            writing = spawn(books.run(), name="books")
            first = Bench(models=(STREAMING,), hooks=[Taking()], store=store, books=books)
            await first.serve(start())
            await asyncio.sleep(4 * WRITE_S + 1)
            left = database.rows
            await first.handler.close()
            await cancel(writing)
        await asyncio.sleep(1000)  # Without orchd.
        with a_database(left) as database:
            hook, books = Taking(), OpenAccounts(database)
            await books.load()
            second = Bench(models=(STREAMING,), hooks=[hook], store=store, is_open=False, books=books)
            await second.keeper.restore()
            second.server.settle_left(second.keeper.expected_accounts())
            await second.handler.idle()
            assert hook.closed == [], "it may be found again"
            sweeping = spawn(second.keeper.run(), name="sweep")
            if found:
                second.open()
                await asyncio.sleep(3)
                await second.serve(request(("X-Stream-Id", "s1"), target=f"{ONE}/stream/stop", body=b"{}"))
            else:
                await asyncio.sleep(400)
            await cancel(sweeping)
            await second.handler.idle()
            ((_, outcome, usage),) = hook.closed
            assert outcome is (Outcome.OK if found else Outcome.ABORTED)
            assert 4 * WRITE_S - 2 <= usage.seconds <= 4 * WRITE_S + 5
            assert usage.first_byte_s == 0.0
            assert database.rows == []

    run()


@virtual_time
async def test_an_account_that_can_not_be_read_is_dropped_and_said() -> None:
    with structlog.testing.capture_logs() as logs:
        assert await next_orchd([("a1", "{}", 1.0)], hook := Taking()) == []
    assert hook.closed == []
    assert [line["event"] for line in logs] == ["stored_account_unreadable"]
