"""Accounts: made when a job is admitted, given to charge and settle, and there again after a restart."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import pytest
import structlog

from orchd.domain.model import HealthSpec, StreamSpec
from orchd.domain.money import Currency, Price, PriceUnit
from orchd.domain.outcomes import Outcome
from orchd.errors import Code, JobRefused
from orchd.hooks.account import Account
from orchd.hooks.hook import JobHook, Waits
from orchd.hooks.job import Job
from orchd.hooks.terms import terms_of
from orchd.hooks.usage import Usage
from orchd.realtime.expected import RECOVER_S
from orchd.tasks import cancel, spawn
from tests.fakes.stored import FakeStreamStore
from tests.jobs.fakes import Bench, Charging, FakeHook
from tests.jobs.messages import ONE, request
from tests.jobs.model import KEY, a_model
from tests.virtual_time import virtual_time

PRICE = Price(Fraction(7), 2, Currency.WEI, PriceUnit.SECOND)
STREAMING = a_model(
    stream=StreamSpec(post_starts_stream=True),
    health=HealthSpec(ready=("idle",), busy=("ok",)),
    price=PRICE,
    capability="tint",
)


@dataclass
class Paying(Charging):
    """Names the payer and notes a nonce. Attributes:
    accounts: given to `charge` and `settle`, with the name of the call and what else was given.
    """

    payer: str = "0xABC"
    accounts: list[tuple[str, Account, Any]] = field(default_factory=list)

    def identify(self, job: Job) -> Waits:
        if self.payer:
            job.set_payer(self.payer)
        return super().identify(job)

    def admit(self, job: Job) -> Waits:
        job.note("paying.nonce", "7")
        return super().admit(job)

    def charge(self, account: Account, used: float) -> Waits:
        self.accounts.append(("charge", account, used))
        return super().charge(account, used)

    def settle(self, account: Account, outcome: Outcome, usage: Usage) -> Waits:
        self.accounts.append(("settle", account, outcome))
        return super().settle(account, outcome, usage)

    @property
    def settled_with(self) -> Account:
        """The account of the only session that was settled."""
        (account,) = (account for call, account, _ in self.accounts if call == "settle")
        return account


@virtual_time
async def test_an_account_holds_payer_terms_and_the_facts_of_the_job() -> None:
    hook = Paying()
    bench = Bench(models=(a_model(price=PRICE),), hooks=[hook])
    await bench.serve(request(("Livepeer-Request-Id", "r1"), target=f"{ONE}/x", body=b"x"))
    account = hook.settled_with
    assert (account.payer, account.key, account.capability) == ("0xABC", KEY, "image/org/one")
    assert (account.price, account.unit) == (Fraction(7, 2), PriceUnit.SECOND)
    assert (account.request_id, account.door, account.kind, account.admitted) == ("r1", "direct", "job", True)
    assert account.note("paying.nonce") == "7"
    assert len(account.id) == 32


@virtual_time
async def test_each_session_has_an_account_of_its_own() -> None:
    hook = Paying()
    bench = Bench(hooks=[hook])
    for _ in range(3):
        await bench.serve(request(("Livepeer-Request-Id", "same"), body=b"x"))
    assert len({account.id for _, account, _ in hook.accounts}) == 3


@pytest.mark.parametrize("waits", [set(), {"admit"}])
def test_a_hook_that_took_something_is_told_when_the_next_one_refuses(waits: set[str]) -> None:
    @virtual_time
    async def run() -> None:
        hook = Paying(waits=waits)
        refusing = FakeHook(waits=waits, fails={"admit": JobRefused(Code.FORBIDDEN, "cannot serve you")})
        bench = Bench(hooks=[hook, refusing])
        await bench.serve(request(body=b"x"))
        account = hook.settled_with
        assert (account.payer, account.note("paying.nonce"), account.admitted) == ("0xABC", "7", False)
        assert hook.charged == []

    run()


@virtual_time
async def test_what_a_hook_says_while_its_job_is_cut_is_in_the_account() -> None:
    """It is settled after that call, with the account that the call left behind."""

    class Late(Paying):
        async def wait(self, call: str) -> None:
            try:
                await super().wait(call)
            finally:
                self.identified[0].note("late", "yes")

    hook = Late(hangs={"admit"})
    bench = Bench(hooks=[hook])
    caller = bench.caller(request(body=b"x"))
    await bench.settle()
    caller.lose()
    await bench.idle()
    assert hook.settled_with.note("late") == "yes"
    assert not hook.settled_with.admitted


@virtual_time
async def test_two_hooks_can_not_name_two_payers() -> None:
    hooks = [Paying(), Paying(payer="0xDEF")]
    bench = Bench(hooks=hooks)
    caller = await bench.serve(request(body=b"x"))
    assert caller.messages[0].status == 503
    assert [hook.accounts for hook in hooks] == [[], []], "no slot was taken"


@virtual_time
async def test_without_hooks_that_are_given_accounts_none_is_made() -> None:
    class Admitting(FakeHook):
        settle = JobHook.settle

    bench = Bench(hooks=[Admitting()])
    await bench.serve(request(body=b"x"))
    assert [session.account for session in bench.table.sessions] == [None]


# Prices.


@pytest.mark.parametrize(
    ("payer", "wei"),
    [("", 5), ("0xabc", 9), ("0xABC", 9), ("0xdef", 5)],
)
def test_a_gateway_has_the_price_that_the_entry_has_for_it(payer: str, wei: int) -> None:
    model = a_model(price=Price(Fraction(5)), gateway_prices=(("0xAbC", Price(Fraction(9))),))
    assert terms_of(model, payer).price == wei


def test_terms_are_exact_and_none_where_they_are_not_known() -> None:
    in_usd = a_model(price=Price(Fraction(1), 3, Currency.USD, PriceUnit.HOUR))
    assert terms_of(in_usd).price is None
    assert terms_of(in_usd, eth_usd=Fraction(3000)).price == Fraction(10**18, 9000)
    assert terms_of(in_usd).unit is PriceUnit.HOUR
    assert terms_of(a_model()) == ("image/org/one", None, PriceUnit.SECOND)
    assert terms_of(a_model(capability="x")).capability == "x"
    assert terms_of(a_model(), name="{model_id}@{pipeline}").capability == "org/one@image"


# Realtime sessions.


def start(name: str = "s1") -> bytes:
    return request(("X-Stream-Id", name), target=f"{ONE}/stream/start", body=b"{}")


@virtual_time
async def test_a_session_that_is_found_again_has_its_account_again_and_is_charged() -> None:
    store = FakeStreamStore()
    before = Paying()
    first = Bench(models=(STREAMING,), hooks=[before], store=store)
    assert (await first.serve(start())).messages[0].status == 200
    account = first.table.sessions[0].account
    assert account is not None
    assert (account.kind, account.capability, account.payer) == ("stream", "tint", "0xABC")
    store.kept[KEY, "s1"] = replace(store.kept[KEY, "s1"], began_at=store.kept[KEY, "s1"].began_at - 100)
    await first.handler.close()  # The daemon is gone; the container goes on.

    hook = Paying(payer="0xsomebody-else")
    second = Bench(models=(STREAMING,), hooks=[hook], store=store, is_open=False)
    await second.keeper.restore()
    await asyncio.sleep(3.5)
    assert hook.accounts == [], "nothing is charged before the session is there"
    second.open()
    await asyncio.sleep(2.5)
    assert [(call, given) for call, given, _ in hook.accounts] == [("charge", account)] * 2
    assert [used for _, _, used in hook.accounts] == pytest.approx([104.5, 105.5], abs=1), "since its first start"
    await second.serve(request(("X-Stream-Id", "s1"), target=f"{ONE}/stream/stop", body=b"{}"))
    assert hook.accounts[-1] == ("settle", account, Outcome.OK)
    charged = len(hook.accounts)
    await asyncio.sleep(3)
    assert len(hook.accounts) == charged
    assert store.kept == {}


@virtual_time
async def test_a_session_whose_account_can_not_be_read_goes_on_and_nobody_is_charged() -> None:
    store = FakeStreamStore()
    first = Bench(models=(STREAMING,), hooks=[Paying()], store=store)
    await first.serve(start())
    await first.handler.close()
    store.kept[KEY, "s1"] = replace(store.kept[KEY, "s1"], account='{"version": 99}')
    hook = Paying()
    second = Bench(models=(STREAMING,), hooks=[hook], store=store, is_open=False)
    with structlog.testing.capture_logs() as logs:
        await second.keeper.restore()
    assert [line["event"] for line in logs] == ["stored_account_unreadable"]
    second.open()
    await asyncio.sleep(3)
    assert second.table.active(KEY) == 1
    assert hook.accounts == []
    await second.serve(request(("X-Stream-Id", "s1"), target=f"{ONE}/stream/stop", body=b"{}"))
    account = hook.settled_with
    assert (account.payer, account.admitted, account.kind, account.key) == ("", False, "stream", KEY)


@virtual_time
async def test_a_session_that_began_without_accounts_is_stored_without_one() -> None:
    store = FakeStreamStore()
    bench = Bench(models=(STREAMING,), hooks=[], store=store)
    await bench.serve(start())
    assert store.kept[KEY, "s1"].account is None


class Receipts(JobHook):
    """Notes what it is given to settle."""

    def __init__(self) -> None:
        self.settled: list[tuple[Account, Outcome]] = []

    def settle(self, account: Account, outcome: Outcome, usage: Usage) -> None:
        self.settled.append((account, outcome))


@virtual_time
async def test_a_session_that_is_not_found_again_is_settled_once() -> None:
    store = FakeStreamStore()
    first = Bench(models=(STREAMING,), hooks=[Paying()], store=store)
    await first.serve(start())
    account = first.table.sessions[0].account
    await first.handler.close()
    hook = Receipts()
    second = Bench(models=(STREAMING,), hooks=[hook], store=store, is_open=False)  # type: ignore[list-item]
    await second.keeper.restore()
    sweeping = spawn(second.keeper.run(), name="sweep")
    await asyncio.sleep(2 * RECOVER_S)
    await cancel(sweeping)
    assert hook.settled == [(account, Outcome.ABORTED)]
    assert store.kept == {}
