"""Calls of proxies: where they lead, what goes with them, and what they are never used for."""

from __future__ import annotations

import asyncio
import json

import pytest

from orchd.domain.model import Secret
from orchd.domain.outcomes import Outcome
from orchd.errors import Code
from tests.doors.runner_side.containers import SESSION, ContainersBench
from tests.faults.message import Message
from tests.jobs.fakes import INSIDE
from tests.jobs.messages import answer, request
from tests.jobs.model import ADDRESS, KEY, a_model
from tests.virtual_time import virtual_time

TARGET = "http://10.0.0.5:9000/base?k=1"
GRANTED = ("10.0.0.5:9000",)
OURS = ("Livepeer-Runner-Route", "Livepeer-Session-Id", "Livepeer-Session-Token", "Livepeer-Session-Control")


async def a_bench(*grants: str, token: str | None = None) -> ContainersBench:
    model = a_model(persistent=True, max_sessions=2, token=None if token is None else Secret(token))
    bench = ContainersBench(grants=grants, models=(model,))
    await bench.reserved()
    return bench


def target_of(seen: Message) -> str:
    return seen.first.split(" ")[1]


def session_lines(seen: Message) -> dict[str, str | None]:
    return {name: seen.header(name) for name in OURS}


@pytest.mark.parametrize("folder", ["run", "proxy"])
@virtual_time
async def test_a_proxy_leads_to_the_session_s_own_runner(folder: str) -> None:
    bench = await a_bench()
    id = await bench.made_proxy()
    called = await bench.answer_to(request(("X-Custom", "c"), target=f"/{folder}/{id}/a%2Fb?y=2", body=b"{}"))
    assert (called.status, called.body) == (200, b"answer")
    assert bench.network.dialled == [(ADDRESS.host, ADDRESS.port)]
    (seen,) = bench.network.requests
    assert (target_of(seen), seen.header("X-Custom"), seen.body) == ("/a%2Fb?y=2", "c", b"{}")
    assert session_lines(seen) == {
        "Livepeer-Runner-Route": KEY.slug,
        "Livepeer-Session-Id": SESSION,
        "Livepeer-Session-Token": bench.token(),
        "Livepeer-Session-Control": f"{INSIDE}/runner/{KEY.slug}/session/{SESSION}",
    }


@pytest.mark.parametrize(
    ("rest", "there"),
    [("/deep/er?y=2", "/base/deep/er?k=1&y=2"), ("", "/base/?k=1"), ("/", "/base/?k=1"), ("/%2F?", "/base/%2F?k=1")],
)
@virtual_time
async def test_a_proxy_leads_where_its_container_said_if_that_is_granted(rest: str, there: str) -> None:
    bench = await a_bench(*GRANTED, token="of the entry")
    id = await bench.made_proxy(TARGET)
    assert (await bench.answer_to(request(method="GET", target=f"/run/{id}{rest}"))).status == 200
    assert bench.network.dialled == [("10.0.0.5", 9000)]
    (seen,) = bench.network.requests
    assert (target_of(seen), seen.header("Host")) == (there, "10.0.0.5:9000")
    assert seen.header("Authorization") is None  # The entry's token is for the entry's runner.
    assert session_lines(seen)["Livepeer-Session-Token"] == bench.token()


@pytest.mark.parametrize(
    "target",
    [
        *("http://10.0.0.5:9001/", "http://10.0.0.6:9000", "http://127.0.0.1:9000", "http://[::1]:9000"),
        *("http://169.254.169.254/latest", "http://0.0.0.0:9000", "http://[::ffff:127.0.0.1]:8738/status"),
    ],
)
@virtual_time
async def test_what_is_not_granted_is_not_dialled(target: str) -> None:
    bench = await a_bench(*GRANTED, "10.0.0.0/8:9002", "0.0.0.0/0:80")
    called = await bench.answer_to(request(target=f"/run/{await bench.made_proxy(target)}/x"))
    assert (called.status, json.loads(called.body)["error"]) == (502, Code.BACKEND_UNAVAILABLE)
    assert bench.network.dialled == []
    assert bench.hurried == []  # The runner has no part in that.


@virtual_time
async def test_nothing_of_its_caller_s_stands_for_the_session_or_for_a_payment() -> None:
    bench = await a_bench(*GRANTED)
    theirs = [(name, "mine") for name in (*OURS, "Livepeer-Payment", "Livepeer-Segment", "Livepeer-Payer-Address")]
    theirs += [("X-Forwarded-For", "mine"), ("Forwarded", "mine")]
    underscored = [(name.replace("-", "_"), "mine") for name, _ in theirs]
    for target in (None, TARGET):
        await bench.answer_to(request(*theirs, *underscored, target=f"/run/{await bench.made_proxy(target)}/x"))
    assert len(bench.network.requests) == 2
    for seen in bench.network.requests:
        assert "mine" not in [value for _, value in seen.headers]
        assert session_lines(seen)["Livepeer-Session-Id"] == SESSION
        assert seen.header("X-Forwarded-For") == "192.0.2.1"
        assert seen.header("X-Forwarded-Proto") == "http", "containers call over plain HTTP"


@pytest.mark.parametrize("rest", ["/../x", "/%2e%2e/x", "/a/../../x", "/..%2fx", "/..", "/a\\..\\..\\x", "/.%2e"])
@virtual_time
async def test_no_call_climbs_above_what_a_proxy_leads_to(rest: str) -> None:
    bench = await a_bench(*GRANTED)
    id = await bench.made_proxy(TARGET)
    called = await bench.answer_to(request(target=f"/run/{id}{rest}"))
    assert (called.status, json.loads(called.body)) == (400, {"error": "invalid path"})
    assert bench.network.dialled == []


@pytest.mark.parametrize("target", ["/run/", "/proxy/x", f"/run/{'a' * 26}/x", f"/run/{'A' * 26}", "/run//x"])
@virtual_time
async def test_a_proxy_that_there_is_not_is_no_job_and_counts_against_its_caller_s_address(target: str) -> None:
    bench = await a_bench()
    called = await bench.answer_to(request(target=target))
    assert (called.status, json.loads(called.body)) == (404, {"error": "proxy not found"})
    assert bench.answers.counted == [("runner-side", "proxy", 404)]


@pytest.mark.parametrize(("target", "letting_go"), [(None, 1), (TARGET, 0)])
@virtual_time
async def test_a_call_is_cut_with_its_session_and_the_proxy_is_gone(target: str | None, letting_go: int) -> None:
    bench = await a_bench(*GRANTED)
    id = await bench.made_proxy(target)
    bench.network.reply = None
    caller = bench.caller(request(target=f"/run/{id}/slow"))
    await bench.settle()
    assert len(bench.network.requests) == 1
    session = bench.sold.find(SESSION)
    assert session is not None
    session.end(Outcome.OK, "its client has stopped it")
    await bench.idle()
    assert caller.messages[0].status == 503
    assert (await bench.answer_to(request(target=f"/run/{id}/x"))).status == 404
    # The slot is not free while its runner may be at work; what is done elsewhere is none of its.
    assert bench.table.active(KEY) == letting_go


@pytest.mark.parametrize("target", [None, TARGET])
@virtual_time
async def test_a_proxy_leads_into_no_later_session_of_the_same_name(target: str | None) -> None:
    bench = await a_bench(*GRANTED)
    id = await bench.made_proxy(target)
    call = request(target=f"/run/{id}/x")
    assert (await bench.answer_to(call)).status == 200
    session = bench.sold.find(SESSION)
    assert session is not None
    session.end(Outcome.OK, "its client has stopped it")
    await bench.idle()
    await bench.reserved()
    assert (await bench.answer_to(call)).status == 404


@virtual_time
async def test_a_call_is_use_of_its_session() -> None:
    bench = await a_bench(*GRANTED)
    id = await bench.made_proxy(TARGET)
    session = bench.sold.find(SESSION)
    assert session is not None
    before = session.sign_at
    await asyncio.sleep(30)
    await bench.answer_to(request(target=f"/run/{id}/x"))
    bench.sold.look()
    assert session.sign_at >= before + 30


@virtual_time
async def test_no_connection_to_what_is_no_runner_is_kept_for_another_call() -> None:
    bench = await a_bench(*GRANTED)
    id = await bench.made_proxy(TARGET)
    for _ in range(2):
        assert (await bench.answer_to(request(target=f"/run/{id}/x"))).status == 200
    await bench.settle()
    assert bench.network.dialled == [("10.0.0.5", 9000)] * 2
    assert all(end.over for end in bench.network.ends)


@pytest.mark.parametrize("status", [402, 480, 482])
@virtual_time
async def test_words_of_the_client_s_signer_do_not_pass(status: int) -> None:
    bench = await a_bench(*GRANTED)
    bench.network.reply = answer(b"pay", status=status)
    for target in (None, TARGET):
        called = await bench.answer_to(request(target=f"/run/{await bench.made_proxy(target)}/x"))
        assert called.status == 502


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("/base/next", "{id}/next"),
        ("http://10.0.0.5:9000/base/next?a=b", "{id}/next?a=b"),
        ("https://elsewhere.example/x", "https://elsewhere.example/x"),
        ("next", "next"),
    ],
)
@virtual_time
async def test_a_redirect_is_not_followed_and_stays_below_the_proxy(said: str, told: str) -> None:
    bench = await a_bench(*GRANTED)
    id = await bench.made_proxy(TARGET)
    bench.network.reply = answer(b"", ("Location", said), status=307)
    called = await bench.answer_to(request(target=f"/run/{id}/x"))
    assert (called.status, called.header("Location")) == (307, told.format(id=f"/run/{id}"))
    assert len(bench.network.dialled) == 1


@virtual_time
async def test_what_breaks_elsewhere_counts_against_no_runner() -> None:
    bench = await a_bench(*GRANTED)
    id = await bench.made_proxy(TARGET)
    bench.network.fails = ConnectionRefusedError()
    called = await bench.answer_to(request(target=f"/run/{id}/x"))
    assert called.status == 502
    assert "what a proxy of" in json.loads(called.body)["message"]
    assert bench.hurried == []
