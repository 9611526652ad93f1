"""Requests of Live Runner's clients, from their bytes to those of the answer, with a runner of the test's."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from orchd.domain.model import Model, Secret
from orchd.doors.entrance import Entrance
from orchd.doors.public_live_runner.calls import ClientCalls
from orchd.doors.public_live_runner.door import PublicLiveRunnerDoor
from orchd.errors import Code, JobRefused
from orchd.hooks.refusal import Refusal
from tests.doors.public_live_runner.fakes import CHALLENGE, MODELS, ONCE, PERSISTENT, FakeClients, FakeDesk, FakeMarket
from tests.faults.message import Message
from tests.jobs.fakes import Bench, FakeHook
from tests.jobs.messages import answer, request
from tests.jobs.test_own import FakeKeeper
from tests.virtual_time import settle, virtual_time

SERVICE = "https://ai.example.org"
RESERVE, APP = f"/apps/{PERSISTENT.slug}/session", f"/apps/{ONCE.slug}/app"
PAID = (("Livepeer-Payment", "cGF5"), ("Livepeer-Segment", "c2Vn"), ("Livepeer-Payer-Address", "0x" + "1" * 40))
MIB = 1024 * 1024


class Clients(Bench):
    """A listener with the door alone."""

    def __init__(self, models: Sequence[Model] = tuple(MODELS.values()), hook: FakeHook | None = None) -> None:
        super().__init__(models=tuple(models), hooks=[hook or FakeHook()])
        self.desk, self.keeper_of_own = FakeDesk(), FakeKeeper()
        calls = ClientCalls(self.desk, self.sold, FakeMarket(), FakeClients(), lambda key: (True, ""))
        door = PublicLiveRunnerDoor(calls, SERVICE)
        self.entrance = Entrance((door,), own=self.keeper_of_own)

    async def told(self, *headers: tuple[str, str], target: str, body: bytes = b"") -> Message:
        caller = await self.serve(request(*headers, target=target, body=body))
        (message,) = caller.messages
        return message


def said(message: Message) -> Any:
    return json.loads(message.body)


@virtual_time
async def test_a_session_is_reserved_used_and_stopped() -> None:
    bench = Clients()
    reserved = said(await bench.told(*PAID, target=RESERVE))
    assert reserved["control_url"] == f"{SERVICE}{RESERVE}/{reserved['session_id']}"
    session = reserved["control_url"].removeprefix(SERVICE)
    headers = (("Authorization", "Bearer mine"), ("X-Forwarded-For", "9.9.9.9"), ("Cookie", "a=b"))
    bench.network.reply = answer(b"", ("Location", "/there"), status=302)
    used = await bench.told(*PAID, *headers, target=f"{session}/app/a%2Fb?c", body=b"x")
    assert (used.status, used.header("Location")) == (302, "./there")
    (asked,) = bench.network.requests
    assert asked.first == "POST /a%2Fb?c HTTP/1.1"
    assert [asked.header(name) for name, _ in PAID] == [None] * 3
    assert (asked.header("Authorization"), asked.header("Cookie")) == ("Bearer mine", "a=b")
    assert (asked.header("X-Forwarded-For"), asked.header("X-Forwarded-Host")) == ("192.0.2.1", "orchd.test")
    assert asked.header("Livepeer-Session-Id") == reserved["session_id"]
    for _ in range(2):
        assert said(await bench.told(target=f"{session}/stop")) == {"ok": True}
    await bench.idle()
    assert (await bench.told(target=f"{session}/app")).status == 404
    assert bench.table.active(PERSISTENT) == 0


@virtual_time
async def test_the_same_head_from_another_address_is_told_as_such_to_the_runner() -> None:
    bench = Clients()
    session = said(await bench.told(*PAID, target=RESERVE))["session_id"]
    clients = ["192.0.2.1", "192.0.2.1", "198.51.100.7"]
    left = iter(clients)
    bench.entrance = replace(bench.entrance, peer_of=lambda address, head: next(left))
    for _ in clients:
        await bench.told(target=f"{RESERVE}/{session}/app/x", body=b"x")
    assert [asked.header("X-Forwarded-For") for asked in bench.network.requests] == clients


@virtual_time
async def test_the_token_of_an_entry_stands_in_place_of_what_a_client_presents() -> None:
    bench = Clients([replace(MODELS[ONCE], token=Secret("0urs"))])
    await bench.told(*PAID, ("Authorization", "Bearer mine"), target=f"{APP}/x", body=b"x")
    (asked,) = bench.network.requests
    assert [value for name, value in asked.headers if name == "Authorization"] == ["Bearer 0urs"]


@virtual_time
async def test_the_last_slot_is_taken_once_and_the_next_client_is_told_409() -> None:
    bench = Clients()
    assert (await bench.told(*PAID, target=RESERVE)).status == 200
    full = await bench.told(*PAID, target=RESERVE)
    assert (full.status, said(full)["error"]["code"]) == (409, "capacity_exhausted")
    assert (await bench.told(target=RESERVE)).status == 402, "a full model is still told of"


@pytest.mark.parametrize("status", [402, 480, 482])
@virtual_time
async def test_a_runners_word_about_payment_is_502(status: int) -> None:
    bench = Clients()
    bench.network.reply = answer(b"pay me", status=status)
    refused = await bench.told(*PAID, target=APP, body=b"x")
    assert (refused.status, said(refused)["error"]["code"]) == (502, "backend_unusable")


@virtual_time
async def test_a_paid_job_that_needs_new_terms_is_told_them_and_its_long_body_is_dropped() -> None:
    """The listener drops 8 MiB of any; the client sends 20 before it reads."""
    hook = FakeHook(fails={"identify": Refusal(402, "cannot take the payment: it is stale", body=CHALLENGE)})
    bench = Clients(hook=hook)
    data = request(*PAID, target=APP, body=b"x" * 20 * MIB)
    caller = bench.caller(data[:1000])
    await bench.settle()
    assert [message.status for message in caller.messages] == [402]
    assert said(caller.messages[0]) == CHALLENGE
    assert caller.messages[0].header("Connection") is None
    caller.say(data[1000:])
    await settle()
    assert not caller.over
    assert bench.table.active(ONCE) == 0


@virtual_time
async def test_reservations_of_an_address_that_asks_too_often_are_refused_before_a_payment_is_looked_at() -> None:
    bench = Clients()
    bench.keeper_of_own.limited.add("192.0.2.1")
    for headers in ((), PAID):
        refused = await bench.told(*headers, target=RESERVE)
        assert (refused.status, said(refused)["error"]["code"]) == (429, "rate_limited")
    assert bench.hooks[0].identified == []
    assert bench.table.active(PERSISTENT) == 0


@virtual_time
async def test_an_address_whose_payments_for_jobs_are_refused_too_often_is_refused_before_they_are_looked_at() -> None:
    bench = Clients()
    bench.hooks[0].fails["identify"] = JobRefused(Code.FORBIDDEN, "cannot take the payment: it is forged")
    assert (await bench.told(*PAID, target=APP)).status == 403
    keeper = bench.keeper_of_own
    assert keeper.asked == ["192.0.2.1"], "what is refused counts"
    keeper.limited.add("192.0.2.1")
    refused = await bench.told(*PAID, target=APP)
    assert (refused.status, said(refused)["error"]["code"]) == (429, "rate_limited")
    assert len(bench.hooks[0].identified) == 1
    keeper.limited.clear()
    bench.hooks[0].fails.clear()
    assert (await bench.told(*PAID, target=APP)).status == 200
    assert len(keeper.asked) == 1, "a job that is served counts nowhere"


@virtual_time
async def test_a_crash_in_the_middle_is_503_and_frees_the_slot() -> None:
    bench = Clients(hook=FakeHook(fails={"admit": KeyError("a bug")}))
    refused = await bench.told(*PAID, target=RESERVE)
    assert (refused.status, refused.header("Retry-After")) == (503, "1")
    assert bench.table.active(PERSISTENT) == 0
