"""What the pages say of Livepeer Node and no recording shows: time limits, base paths, templates, grants, faults."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import aiohttp
import pytest

from tests.chaos.jumping import run_jumping
from tests.doubles.livepeer_node.grants import Grants
from tests.doubles.livepeer_node.kit import RUNNER, SECRET, TOKEN, Kit, kit
from tests.doubles.livepeer_node.node import Node
from tests.doubles.livepeer_node.places import CONTROL, MOST, STREAM
from tests.doubles.livepeer_node.settings import BadStart, NodeSettings
from tests.doubles.livepeer_node.worker import Worker
from tests.doubles.shared.caller import Answer, Exchange, call
from tests.doubles.shared.clock import Clock, RealClock
from tests.doubles.shared.recordings import eventually
from tests.doubles.shared.tls_front import TlsFront


@pytest.fixture
async def node() -> AsyncIterator[Kit]:
    async with kit() as running:
        yield running


async def begun(running: Kit, target: str) -> asyncio.Task[Answer]:
    """Begin a job that sleeps at the worker; it is there when this returns."""
    job = asyncio.get_running_loop().create_task(running.post(target, {}))
    await eventually(lambda: running.worker.sleeping == 1, "it is at the worker")
    return job


async def raw(running: Kit, path: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send a request whose connection ends with the answer."""
    port = int(running.node.service_url.rpartition(":")[2])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = f"POST /apps/{RUNNER}/app/{path} HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    writer.write(head.encode())
    return reader, writer


@pytest.mark.parametrize("path", ["sleep100", "early100"])
async def test_a_runner_without_a_header_for_60_s_is_given_up_and_a_103_is_no_header(node: Kit, path: str) -> None:
    await node.heartbeat(mode="single-shot")
    reader, writer = await raw(node, path)
    await eventually(lambda: node.worker.sleeping == 1, "it is at the worker")
    for _ in range(12):
        await node.clock.advance(4.99)
        await node.heartbeat(mode="single-shot")
    assert node.node.live_runners.registry.session_count == 1
    await node.clock.advance(0.2)
    answer = await reader.read()
    writer.close()
    assert (b"103 Early Hints" in answer) == (path == "early100")
    assert b"HTTP/1.1 502 Bad Gateway" in answer
    assert answer.endswith(b'{"error":"runner destination unavailable"}\n')
    assert node.node.live_runners.registry.session_count == 0


async def test_a_body_may_take_as_long_as_it_likes(node: Kit) -> None:
    await node.heartbeat(mode="single-shot")
    job = await begun(node, f"/apps/{RUNNER}/app/endless")
    for _ in range(14):
        await node.clock.advance(5)
        await node.heartbeat(mode="single-shot")
    assert not job.done()
    node.node.live_runners.forget(RUNNER)
    assert (await job).broken_off


async def test_an_answer_is_unpacked_for_a_caller_that_did_not_ask_for_gzip(node: Kit) -> None:
    await node.heartbeat(mode="single-shot")
    reader, writer = await raw(node, "gzip")
    head, _, body = (await reader.read()).partition(b"\r\n\r\n")
    writer.close()
    assert b"packed" in body
    assert b"Transfer-Encoding: chunked" in head
    assert b"Content-Encoding" not in head
    packed = await node.call("POST", f"/apps/{RUNNER}/app/gzip")
    assert packed.header("Content-Encoding") == "gzip"


async def test_a_request_outside_the_base_path_is_told_that_there_is_no_route() -> None:
    async with kit(service_url="http://node.example/base") as running:
        for method, target in (("GET", "/discovery"), ("POST", "/runners/heartbeat"), ("GET", "/basement/discovery")):
            answer = await running.call(method, target)
            assert (answer.status, answer.text) == (404, '{"error":"route not found"}\n')
        answer = await running.call("GET", "/base/discovery")
        assert json.loads(answer.text) == [{"address": "http://node.example/base", "runners": []}]


async def test_without_a_base_path_on_one_of_the_urls_both_forms_are_taken() -> None:
    async with kit(service_url="http://node.example/base", runner_service_url="http://127.0.0.1:1") as running:
        assert (await running.call("GET", "/discovery")).status == 200
        assert (await running.call("GET", "/base/discovery")).status == 200
        answer = json.loads((await running.heartbeat()).text)
        assert answer["orchestrator"] == "http://127.0.0.1:1"
        assert answer["o2r"]["url"].startswith("http://127.0.0.1:1/ai/trickle/")


async def test_a_host_template_leads_to_single_shot_runners_and_cleans_no_path() -> None:
    async with kit(proxy_url_template="http://{proxy}.node.example") as running:
        refused = await running.heartbeat(mode="single-shot", proxy=True, runner_id="Not_A_Label")
        assert refused.status == 400
        assert "lowercase DNS-label" in refused.text
        await running.heartbeat(mode="single-shot", proxy=True)
        assert [shown["url"] for shown in await running.listed()] == ["http://one.node.example"]
        by_host = Exchange(running.node.service_url, "ONE.node.example")
        assert (await by_host.send("POST", "/a//b?x", {}, b"")).status == 200
        assert [seen.path for seen in running.worker.take()[0]] == ["/a//b?x"]


async def test_a_persistent_runner_with_proxy_gives_a_proxy_url_that_counts_among_the_25() -> None:
    async with kit() as running:
        await running.heartbeat(proxy=True)
        given = json.loads((await running.post(f"/apps/{RUNNER}/session")).text)
        path = given["app_url"].removeprefix(running.node.service_url)
        assert path.startswith("/run/")
        assert (await running.post(f"{path}/x", {})).status == 200
        assert (await running.post(f"/apps/{RUNNER}/session/{given['session_id']}/app/x", {})).status == 200
        token = {TOKEN: dict(running.worker.take()[0][-1].headers)[TOKEN]}
        target = f"/runner/{RUNNER}/session/{given['session_id']}/proxy"
        assert [(await running.post(target, {}, token)).status for _ in range(25)] == [200] * 24 + [403]


async def test_the_default_target_of_a_proxy_is_gone_while_the_runner_is_not_ready(node: Kit) -> None:
    await node.heartbeat()
    session = await node.reserve()
    await node.post(f"/apps/{RUNNER}/session/{session}/app/x", {})
    token = {TOKEN: dict(node.worker.take()[0][-1].headers)[TOKEN]}
    await node.heartbeat(status="loading")
    target = f"/runner/{RUNNER}/session/{session}/proxy"
    assert (await node.post(target, {}, token)).text == '{"error":"session not found"}\n'
    assert (await node.post(target, {"target_url": "http://127.0.0.1:1"}, token)).status == 200


async def test_a_pending_session_counts_is_told_and_can_not_be_used_until_it_is_paid(node: Kit) -> None:
    o2r = json.loads((await node.heartbeat(capacity=2)).text)["o2r"]["channel_name"]
    registry = node.node.live_runners.registry
    paid, refused = (registry.reserve(RUNNER, persistent=True, pending=True) for _ in range(2))
    assert await node.listed() == []
    told = json.loads((await node.heartbeat(capacity=2)).text)["session_ids"]
    assert sorted(told) == sorted([paid.session_id, refused.session_id])
    used = f"/apps/{RUNNER}/session/{paid.session_id}/app/x"
    assert (await node.post(used, {})).text == '{"error":"session not found"}\n'
    token = {TOKEN: paid.token}
    channels = f"/runner/{RUNNER}/session/{paid.session_id}/channels"
    assert (await node.post(channels, {}, token)).status == 403
    assert (await node.post(f"/apps/{RUNNER}/session/{refused.session_id}/stop")).status == 200
    registry.paid(paid)
    assert (await node.post(used, {})).status == 200
    events = [json.loads((await node.call("GET", f"/ai/trickle/{o2r}/{number}")).text) for number in range(2)]
    told_of = [(event["event"], event["session"]) for event in events]
    assert told_of == [("released", refused.session_id), ("reserved", paid.session_id)]


async def test_an_empty_segment_silences_the_event_channel_for_good(node: Kit) -> None:
    o2r = json.loads((await node.heartbeat()).text)["o2r"]["channel_name"]
    await node.clock.advance(10)
    assert (await node.call("GET", f"/ai/trickle/{o2r}/0")).text == '{"keep":"alive"}'
    await node.call("POST", f"/ai/trickle/{o2r}/-1")
    await node.heartbeat()
    await node.reserve()
    await node.clock.advance(20)
    assert (await node.call("GET", f"/ai/trickle/{o2r}/next")).text == "2"


async def test_a_channel_without_data_is_never_closed(node: Kit) -> None:
    await node.heartbeat()
    node.node.trickle.create("quiet", "text/plain")
    await node.clock.advance(500)
    assert (await node.call("GET", "/ai/trickle/quiet/next")).status == 200


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("8.8.8.8", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("169.254.1.1", False),
        ("100.64.0.1", False),
        ("::1", False),
        ("fd00::1", False),
        ("::ffff:127.0.0.1", False),
        ("192.0.2.1", False),
    ],
)
def test_public_addresses_need_no_grant(address: str, public: bool) -> None:
    assert Grants().allow("some.name", 80, [address]) is public
    assert not Grants().allow("some.name", 80, ["8.8.8.8", "127.0.0.1"])


@pytest.mark.parametrize(
    ("grant", "granted", "refused"),
    [
        ("127.0.0.1", [("127.0.0.1", 80), ("127.0.0.1", 443), ("127.0.0.1", 9000)], [("localhost", 9000)]),
        ("127.0.0.1:9000", [("127.0.0.1", 9000)], [("127.0.0.1", 9001), ("localhost", 9000), ("127.1", 9000)]),
        ("::1", [("::1", 9000), ("[::1]", 80)], [("127.0.0.1", 80)]),
        ("[::1]:9000", [("::1", 9000)], [("::1", 80)]),
    ],
)
def test_a_grant_of_1_0_1_is_an_ip_and_without_a_port_it_is_for_every_port(
    grant: str, granted: list[tuple[str, int]], refused: list[tuple[str, int]]
) -> None:
    grants = Grants([grant], literals=True)
    assert [at for at in granted if not grants.allow(*at, ["127.0.0.1"])] == []
    assert [at for at in refused if grants.allow(*at, ["127.0.0.1"])] == []


@pytest.mark.parametrize("grant", ["localhost:9000", "http://127.0.0.1", "127.0.0.1:0", "127.0.0.0/8", "*", ""])
def test_a_node_of_1_0_1_starts_with_no_other_grant(grant: str) -> None:
    with pytest.raises(BadStart, match="invalid --runner-grants destination grant"):
        Node(NodeSettings(version="1.0.1", runner_grants=(grant,)), Clock())


@pytest.mark.parametrize(("version", "status"), [("1.0.0", 502), ("1.0.10", 200)])
async def test_a_grant_without_a_port_lets_jobs_through_from_1_0_1_on(version: str, status: int) -> None:
    async with kit(version=version, runner_grants=("127.0.0.1",)) as running:
        await running.heartbeat(mode="single-shot")
        assert (await running.post(f"/apps/{RUNNER}/app/x", {})).status == status


async def test_a_front_with_tls_changes_nothing_and_outlives_the_node(node: Kit) -> None:
    await node.heartbeat(mode="single-shot")
    async with TlsFront(node.node.service_url.removeprefix("http://")) as front:
        shown = await call(front.url, "GET", "/discovery")
        assert json.loads(shown.text)[0]["address"] == node.node.service_uri
        assert (await call(front.url, "POST", f"/apps/{RUNNER}/app/x", {}, "{}")).status == 200
        await node.node.leave()
        assert (await call(front.url, "GET", "/discovery")).status == 0
        await node.node.come_back()
        assert (await call(front.url, "GET", "/discovery")).status == 200


async def test_the_node_can_be_busy_and_discovery_answers_as_long_as_control_places_are_free(node: Kit) -> None:
    await node.heartbeat(mode="single-shot")
    node.node.places.occupied[STREAM] = MOST[STREAM]
    assert (await node.post(f"/apps/{RUNNER}/app/x", {})).text == '{"error":"server busy"}\n'
    assert (await node.call("GET", "/discovery")).status == 200
    node.node.places.occupied[CONTROL] = MOST[CONTROL]
    assert (await node.call("GET", "/discovery")).status == 503
    node.node.places.occupied.update({STREAM: 0, CONTROL: 0})
    assert (await node.post(f"/apps/{RUNNER}/app/x", {})).status == 200


async def test_it_can_hang_drop_fail_be_slow_and_be_away(node: Kit) -> None:
    node.node.faults.drop = True
    assert (await node.call("GET", "/discovery")).status == 0
    node.node.faults.drop = False
    node.node.faults.fail = True
    assert (await node.call("GET", "/discovery")).status == 500
    node.node.faults.fail = False
    node.node.faults.hang(True)
    asked = asyncio.get_running_loop().create_task(node.call("GET", "/discovery"))
    await eventually(lambda: node.node.connections == 1, "it has taken the connection")
    assert not asked.done()
    node.node.faults.hang(False)
    assert (await asked).status == 200
    node.node.faults.slow_s = 5.0
    asked = asyncio.get_running_loop().create_task(node.call("GET", "/discovery"))
    due = node.clock.now() + 5
    await eventually(lambda: any(at == due for at, _, _ in node.clock._timers), "it waits")
    await node.clock.advance(4.9)
    assert not asked.done()
    await node.clock.advance(0.2)
    assert (await asked).status == 200
    node.node.faults.slow_s = 0.0
    await node.heartbeat()
    await node.node.leave()
    with pytest.raises(ConnectionRefusedError):
        await node.call("GET", "/discovery")
    await node.node.come_back()
    assert len(await node.listed()) == 1


async def test_a_restart_keeps_the_ports_and_forgets_all(node: Kit) -> None:
    before = (node.node.service_url, node.node.metrics_url)
    await node.heartbeat()
    await node.node.restart()
    assert (node.node.service_url, node.node.metrics_url) == before
    assert await node.listed() == []
    refused = await node.heartbeat()
    assert (refused.status, refused.header("Connection")) == (401, "close")
    assert (await node.heartbeat(SECRET["Authorization"])).status == 200


async def test_the_order_of_runners_and_sessions_says_nothing(node: Kit) -> None:
    for number in range(20):
        await node.heartbeat("s3cret", runner_id=f"r{number}")
    orders = {tuple(shown["url"] for shown in await node.listed()) for _ in range(5)}
    assert len(orders) > 1


def test_time_may_pass_by_itself_on_a_loop_that_jumps() -> None:
    """As the random runs use it: 60 s without a header, then silence up to the sweep."""

    async def story() -> None:
        clock = RealClock()
        worker = Worker(clock)
        await worker.start()
        async with Node(NodeSettings(runner_grants=(f"127.0.0.1:{worker.port}",)), clock) as node:
            running = Kit(node, worker, clock)
            await running.heartbeat(mode="single-shot")
            async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=None)) as caller:
                url = f"{node.service_url}/apps/{RUNNER}/app/sleep100"
                job = asyncio.get_running_loop().create_task(caller.post(url))
                for _ in range(11):
                    await asyncio.sleep(5)
                    await running.heartbeat(mode="single-shot")
                assert not job.done()
                await asyncio.sleep(6)
                assert job.result().status == 502
            await running.heartbeat(mode="single-shot")
            await asyncio.sleep(30.5)
            assert await running.listed() == []
            await asyncio.sleep(5)
            assert (await running.heartbeat(mode="single-shot")).status == 401
        await worker.stop()

    run_jumping(story())
