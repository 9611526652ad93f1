"""Sessions, channels, proxies and what a runner sees of a request: live-runner.md 4, 5, 10 (6, 7 and 9)."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import aiohttp
import pytest
from aiohttp import web

from tests.doubles.golivepeer.chain import Chain
from tests.doubles.golivepeer.live_kit import PRICE, LiveKit, live_kit
from tests.doubles.golivepeer.node import Node, NodeSettings
from tests.doubles.shared.caller import unverified
from tests.doubles.shared.clock import RealClock
from tests.doubles.shared.go_http import Handler
from tests.doubles.shared.recordings import BOUND_S, eventually
from tests.doubles.shared.trickle_clients import subscribe


@pytest.fixture
async def live() -> AsyncIterator[LiveKit]:
    """A persistent runner `one` with capacity 1."""
    async with live_kit() as running:
        await running.heartbeat()
        yield running


async def test_a_session_has_no_time_limit(live: LiveKit) -> None:
    session = await live.reserve()
    await live.beats(600)
    assert (await live.use(session)).status == 200
    assert (await live.post("/apps/one/session")).status == 503


async def test_a_dynamic_runner_that_is_not_ready_keeps_its_sessions_and_answers_404(live: LiveKit) -> None:
    session = await live.reserve()
    await live.heartbeat(status="draining")
    assert (await live.use(session)).text == "runner not found\n"
    assert (await live.post("/apps/one/session")).text == "runner not found\n"
    assert json.loads((await live.heartbeat()).text)["session_ids"] == [session]
    assert (await live.use(session)).status == 200


async def test_stop_is_204_for_any_session_and_404_for_an_unknown_runner_only(live: LiveKit) -> None:
    session = await live.reserve()
    assert [(await live.stop(which)).status for which in (session, session, "nobody")] == [204] * 3
    answer = await live.stop(session, route="nobody")
    assert (answer.status, answer.text) == (404, "runner not found\n")
    assert await live.reserve()


@pytest.mark.parametrize("loss", ["expiry", "unregister"])
async def test_a_lost_runner_loses_sessions_channels_and_its_events(live: LiveKit, loss: str) -> None:
    session = await live.reserve()
    token = await live.token_of(session)
    await live.post(f"/runner/one/session/{session}/channels", {"channels": [{"name": "a"}]}, token)
    if loss == "expiry":
        await live.clock.advance(26)
    else:
        answer = await live.call("POST", "/runners/one/unregister", {"Authorization": live.secret})
        assert answer.status == 204
    assert live.node.trickle.channels.names() == ()
    live.secret = ""
    await live.heartbeat()
    assert (await live.use(session)).text == "runner session not found\n"


async def test_on_chain_the_challenge_comes_even_when_the_runner_is_full() -> None:
    async with live_kit(on_chain=Chain()) as live:
        await live.heartbeat(price_info=PRICE)
        runner = live.node.live_runners.registry.at("one")
        live.node.live_runners.registry.reserve(runner)
        answer = await live.post("/apps/one/session")
        assert answer.status == 402
        challenge = json.loads(answer.text)
        assert set(challenge) == {"payment_params", "orchestrator", "manifest_id", "payment_url"}
        assert len(challenge["manifest_id"]) == 8


async def test_single_shot_and_persistent_runners_refuse_each_others_routes(live: LiveKit) -> None:
    assert (await live.post("/apps/one/app/x", {})).text == "runner is not single-shot\n"
    await live.heartbeat(mode="single-shot")
    assert (await live.post("/apps/one/session")).text == "only persistent runners have sessions\n"


async def test_the_advertised_url_is_redirected_to_the_one_with_a_slash_with_its_query(live: LiveKit) -> None:
    for target in ("/apps/one/app", "/apps/one/session/abc/app"):
        answer = await live.call("GET", f"{target}?x=1")
        assert (answer.status, answer.header("Location")) == (307, f"{target}/?x=1")


# What the runner sees


@pytest.mark.parametrize(
    ("base", "path", "seen"),
    [
        ("", "a%20b/c", "/a%2520b/c"),
        ("", "%C3%A9", "/%25C3%25A9"),
        ("", "a;b=1,2:3@4&5", "/a;b=1,2:3@4&5"),
        ("", "it's", "/it%27s"),
        ("", "", "/"),
        ("/base", "x?q=%20&r", "/base/x?q=%20&r"),
        ("/base/?lost=1", "x/", "/base/x/"),
    ],
)
async def test_the_path_is_escaped_twice_and_the_query_kept(live: LiveKit, base: str, path: str, seen: str) -> None:
    await live.heartbeat(runner_url=live.worker_url + base)
    await live.use(await live.reserve(), path)
    assert live.worker.seen[-1].path == seen


async def test_headers_towards_the_runner(live: LiveKit) -> None:
    session = await live.reserve()
    dropped = {
        "Connection": "X-Hop",
        "X-Hop": "1",
        "Keep-Alive": "5",
        "TE": "gzip",
        "Forwarded": "for=1",
        "X-Forwarded-For": "1",
        "X-Forwarded-Host": "h",
        "X-Forwarded-Proto": "p",
        "Livepeer-Session-Id": "forged",
    }
    kept = {"Authorization": "Bearer c", "Livepeer-Payment": "p", "X-Forwarded-Port": "1", "Cookie": "a=b"}
    await live.post(f"/apps/one/session/{session}/app/x", {}, dropped | kept)
    seen = dict(live.worker.seen[-1].headers)
    assert {name: seen[name] for name in kept} == kept
    assert seen["Livepeer-Session-Id"] == session
    assert seen["Livepeer-Runner-Route"] == "one"
    assert seen["Livepeer-Session-Control"] == f"{live.node.service_uri}/runner/one/session/{session}"
    assert len(seen["Livepeer-Session-Token"]) == 52
    assert seen["Host"] == f"127.0.0.1:{live.worker.port}"
    assert set(seen) & set(dropped) == {"Livepeer-Session-Id"}
    assert "User-Agent" not in seen


async def test_runners_are_told_of_the_address_for_them() -> None:
    async with live_kit(live_runner_addr="http://host.docker.internal:1") as live:
        told = json.loads((await live.heartbeat()).text)
        assert told["orchestrator"] == "http://host.docker.internal:1"
        assert told["o2r"]["url"].startswith("http://host.docker.internal:1/ai/trickle/")
        session = await live.reserve()
        await live.use(session)
        control = dict(live.worker.seen[-1].headers)["Livepeer-Session-Control"]
        assert control == f"http://host.docker.internal:1/runner/one/session/{session}"


@asynccontextmanager
async def runner_like(live: LiveKit, handler: Handler) -> AsyncIterator[str]:
    """A runner that answers with `handler`; yields the URL of a session with it."""
    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        await live.heartbeat(runner_url=f"http://127.0.0.1:{runner.addresses[0][1]}")
        yield f"{live.node.service_url}/apps/one/session/{await live.reserve()}/app"
    finally:
        await runner.cleanup()


async def test_bodies_stream_both_ways_at_the_same_time(live: LiveKit) -> None:
    async def echo(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        async for piece in request.content.iter_any():
            await response.write(piece)
        return response

    asked: asyncio.Queue[bytes] = asyncio.Queue()

    async def pieces() -> AsyncIterator[bytes]:
        while piece := await asked.get():
            yield piece

    async with runner_like(live, echo) as url, aiohttp.ClientSession() as session:
        asked.put_nowait(b"first")
        async with asyncio.timeout(BOUND_S), session.post(f"{url}/x", data=pieces(), ssl=unverified()) as answer:
            for piece in (b"first", b"second"):
                assert await answer.content.readany() == piece
                asked.put_nowait(b"second" if piece == b"first" else b"")
            assert await answer.read() == b""


async def test_a_caller_that_leaves_takes_the_runners_request_with_it(live: LiveKit) -> None:
    states: list[str] = []

    async def stuck(_request: web.Request) -> web.StreamResponse:
        states.append("in")
        try:
            await asyncio.Event().wait()
        finally:
            states.append("out")
        raise AssertionError

    async with runner_like(live, stuck) as url, aiohttp.ClientSession() as session:
        asking = asyncio.get_running_loop().create_task(session.get(f"{url}/x", ssl=unverified()))
        await eventually(lambda: states == ["in"], "the runner has the request")
        asking.cancel()
        await eventually(lambda: states == ["in", "out"], "the runner's request ends")


async def test_a_runner_that_breaks_off_breaks_the_callers_connection(live: LiveKit) -> None:
    async def broken(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "10"})
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.close()
        return response

    async with runner_like(live, broken) as url, aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientPayloadError):
            async with session.get(f"{url}/x", ssl=unverified()) as answer:
                await answer.read()


@pytest.mark.parametrize("asked", ["gzip", None])
async def test_gzip_is_undone_only_where_the_node_asked_for_it(live: LiveKit, asked: str | None) -> None:
    async def zipped(request: web.Request) -> web.StreamResponse:
        assert request.headers["Accept-Encoding"] == "gzip"
        return web.Response(body=gzip.compress(b"text"), headers={"Content-Encoding": "gzip"})

    headers = {} if asked is None else {"Accept-Encoding": asked}
    async with (
        runner_like(live, zipped) as url,
        aiohttp.ClientSession(skip_auto_headers=["Accept-Encoding"], auto_decompress=False) as session,
        session.get(f"{url}/x", headers=headers, ssl=unverified()) as answer,
    ):
        body = await answer.read()
    assert (gzip.decompress(body) if asked else body) == b"text"
    assert ("Content-Encoding" in answer.headers) == (asked is not None)


async def test_a_runner_behind_tls_is_verified(live: LiveKit) -> None:
    async with Node(NodeSettings(), RealClock()) as other:  # a self-signed certificate
        await live.heartbeat(runner_url=other.service_url)
        answer = await live.use(await live.reserve())
        assert answer.status == 502
        assert "certificate" in answer.text


# Callbacks of the runner


async def test_channels_of_a_session(live: LiveKit) -> None:
    session = await live.reserve()
    token = await live.token_of(session)
    target = f"/runner/one/session/{session}/channels"
    wanted = {"channels": [{"name": "a/b", "mime_type": "video/mp2t"}]}
    (made,) = json.loads((await live.post(target, wanted, token)).text)["channels"]
    assert (made["name"], made["channel_name"], made["mime_type"]) == ("a-b", f"{session}-a-b", "video/mp2t")
    (again,) = json.loads((await live.post(target, {"channels": [{"name": "a-b"}]}, token)).text)["channels"]
    assert again == made
    for wrong in ([], [{"name": str(n)} for n in range(26)], [{"name": "a b"}], [{"name": ""}]):
        assert (await live.post(target, {"channels": wrong}, token)).status == 400
    answer = await live.call("DELETE", target, token, json.dumps({"channels": ["a-b"]}))
    assert answer.text == '{"deleted":["a-b"]}'
    answer = await live.call("DELETE", target, token, json.dumps({"channels": ["a-b"]}))
    assert (answer.status, answer.text) == (404, "trickle channel not found\n")


async def test_a_bad_channel_leaves_those_before_it_made(live: LiveKit) -> None:
    session = await live.reserve()
    target = f"/runner/one/session/{session}/channels"
    wanted = {"channels": [{"name": "good"}, {"name": "not good"}]}
    assert (await live.post(target, wanted, await live.token_of(session))).status == 400
    assert f"{session}-good" in live.node.trickle.channels.names()
    await live.stop(session)
    assert f"{session}-good" not in live.node.trickle.channels.names()


async def test_a_proxy_url_leads_to_the_runner_or_to_another_port_of_its_host(live: LiveKit) -> None:
    session = await live.reserve()
    token = await live.token_of(session)
    target = f"/runner/one/session/{session}/proxy"
    for wrong in ("x", "http://other/", f"{live.worker_url}/#f"):
        assert (await live.post(target, {"target_url": wrong}, token)).status == 400
    url = json.loads((await live.post(target, {"target_url": f"{live.worker_url}/deep"}, token)).text)["url"]
    path = url.removeprefix(live.node.service_uri)
    assert (await live.call("GET", f"{path}/x?y=1")).status == 200
    assert live.worker.seen[-1].path == "/deep/x?y=1"
    assert (await live.call("GET", "/run/nobody")).text == "live runner proxy not found\n"
    await live.stop(session)
    assert (await live.call("GET", path)).text == "live runner proxy not found\n"


async def test_with_proxy_on_sessions_and_single_shots_get_proxy_urls(live: LiveKit) -> None:
    await live.heartbeat(proxy=True)
    app_url = json.loads((await live.post("/apps/one/session")).text)["app_url"]
    assert app_url.startswith(f"{live.node.service_uri}/run/")
    assert (await live.post(app_url.removeprefix(live.node.service_uri) + "/x", {})).status == 200
    await live.heartbeat(proxy=True, mode="single-shot", capacity=2)
    assert [shown["url"] for shown in await live.listed()] == [f"{live.node.service_uri}/run/one"]
    assert (await live.post("/run/one/x", {})).status == 200


# The event channel


async def test_events_tell_of_sessions_and_keep_alive(live: LiveKit) -> None:
    channel = live.node.live_runners.registry.at("one").events_channel
    async with aclosing(subscribe(f"{live.node.service_url}/ai/trickle/{channel}", 0)) as events:
        session = await live.reserve()
        told = json.loads((await anext(events))[1])
        assert (told["event"], told["session"]) == ("reserved", session)
        await live.stop(session)
        assert json.loads((await anext(events))[1])["event"] == "released"
        await live.beats(10)
        assert (await anext(events))[1] == b'{"keep":"alive"}'


async def test_events_can_be_lost_and_session_ids_are_the_truth(live: LiveKit) -> None:
    live.node.live_runners.events.lost = True
    session = await live.reserve()
    channel = live.node.trickle.channels.get(live.node.live_runners.registry.at("one").events_channel)
    assert channel is not None
    assert channel.head == 0
    assert json.loads((await live.heartbeat()).text)["session_ids"] == [session]
