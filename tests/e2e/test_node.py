"""orchd beside a go-livepeer node, each a process of its own: what is offered there, and what comes from there."""

from __future__ import annotations

import json
import secrets
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from os import kill
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
import pytest
import pytest_asyncio

from orchd.tasks import cancel, spawn
from tests.doubles.shared.trickle_clients import trusting
from tests.e2e.beside import NodeProcess, job_headers, orchd_beside
from tests.e2e.daemon import PATIENCE_S, Daemon
from tests.e2e.scripts import PIPELINE, PROCESS, Runner, process

pytestmark = pytest.mark.asyncio(loop_scope="module")


def name(model_id: str) -> str:
    """Return the capability's name."""
    return f"{PIPELINE}/{model_id}"


def held_by(flag: Path) -> list[str]:
    """Return the command of a runner that opens its port only once there is no such file."""
    return ["sh", "-c", f'while test -e {flag}; do sleep 0.1; done; exec "$@"', "sh", *PROCESS]


@dataclass(frozen=True)
class Stage:
    """A node, an orchd, and what the file says. `flag`: as long as it is there the model `flagged` does not start."""

    node: NodeProcess
    daemon: Daemon
    entries: list[dict[str, Any]]
    flag: Path

    async def offered(self, *, without: str = "", also: str = "") -> None:
        """Wait until both registries offer all that can be served and nothing else."""
        names = ["batch", "cold", "events", "session", "flagged", also]
        wanted = {name(model_id) for model_id in names if model_id not in ("", without)}

        async def so() -> bool:
            try:
                return set(await self.node.capabilities()) == set(await self.node.runners()) == wanted
            except aiohttp.ClientError:
                return False

        await self.daemon.until(f"the node offers {sorted(wanted)}", so)

    async def confirmed(self) -> None:
        """Wait until orchd has seen all that it wants to offer in both registries."""

        async def so() -> bool:
            models = (await self.daemon.status())["models"]
            return all(one["confirmed"] for model in models for one in model["registries"].values() if one["wanted"])

        await self.daemon.until("all is confirmed", so)

    async def runner(self, model_id: str) -> Runner:
        model = await self.daemon.model(model_id)
        return Runner(model["runners"][0]["address"], self.daemon.client)

    async def free(self, model_id: str) -> None:
        await self.daemon.until_model(
            model_id, "has all slots", lambda model: not model["sessions"]["active"] and not model["streams"]
        )

    async def left_out(self, model_id: str) -> None:
        """Wait until Live Runner does not list a model."""

        async def so() -> bool:
            return name(model_id) not in await self.node.runners()

        await self.daemon.until(f"Live Runner leaves {model_id} out", so)

    async def sold(self, model_id: str, slots: int) -> None:
        """Wait until all slots are free, and Live Runner sells so many."""
        await self.free(model_id)

        async def so() -> bool:
            listed = (await self.node.runners()).get(name(model_id))
            return listed is not None and (listed["capacity"], listed["capacity_used"]) == (slots, 0)

        await self.daemon.until(f"Live Runner sells {slots} of {model_id}", so)

    @contextmanager
    def flagged(self) -> Iterator[None]:
        self.flag.touch()
        try:
            yield
        finally:
            self.flag.unlink()

    @asynccontextmanager
    async def job_at_gate(self, model_id: str) -> AsyncIterator[None]:
        """Hold one slot by a BYOC job that goes well in the end."""
        gate = secrets.token_hex(4)
        runner = await self.runner(model_id)
        waiting = (await runner.seen())["waiting"]
        job = spawn(self.node.job(name(model_id), f"gate/{gate}"), name="job at a gate")
        try:
            await runner.seen(waiting=waiting + 1)
            yield
            await runner.open_gate(gate)
            assert (await job)[0] == 200
        finally:
            await cancel(job)


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    folder = tmp_path_factory.mktemp("beside")
    flag = folder / "flag"
    unpriced = process("unpriced")
    del unpriced["price_per_unit"]
    entries = [
        process("batch", maxSessions=2, price_per_unit=7),
        process("cold", warm=False),
        process("events", {"job": "/sse?n=3"}),
        process("session", mode="persistent"),
        process("flagged", command=held_by(flag)),
        process("loading", {"health_word": "LOADING"}),
        unpriced,
    ]
    async with (
        NodeProcess(folder / "node", "--use-live-runners") as node,
        orchd_beside(
            node, folder / "orchd", f"t-node-{secrets.token_hex(4)}", *entries, orchestrator__check_s="1"
        ) as daemon,
    ):
        stage = Stage(node, daemon, entries, flag)
        await stage.offered()
        yield stage


# -- what is offered -------------------------------------------------------------------------------------------------


async def test_what_can_be_served_is_offered_in_both_registries_and_status_says_why_the_rest_is_not(
    stage: Stage,
) -> None:
    await stage.offered()
    at_node = (await stage.node.capabilities())[name("batch")]
    assert (at_node["capacity"], at_node["price"], at_node["currency"]) == (2, "7", "wei")
    listed = await stage.node.runners()
    assert (listed[name("batch")]["capacity"], listed[name("batch")]["mode"]) == (2, "single-shot")
    assert listed[name("session")]["mode"] == "persistent"
    assert "price_per_unit" in (await stage.daemon.model("unpriced"))["not_offered"]
    assert (await stage.daemon.model("loading"))["not_offered"]


async def test_status_shows_the_node_and_what_it_was_seen_to_offer(stage: Stage) -> None:
    await stage.offered()
    await stage.confirmed()
    status = await stage.daemon.status()
    assert status["node"]["up"]
    assert status["node"]["registries"] == ["byoc", "live-runner"]
    code, text = await stage.daemon.command("status", *stage.daemon.flags("admin.listen"))
    assert code == 1, "one of the models is wanted and never ready"
    assert "byoc + live-runner" in text
    assert "offers 5 of 5 by byoc, 5 of 5 by live-runner" in text
    _, _, amiss = text.partition("Not offered as they should be")
    assert [line.split()[:3] for line in amiss.splitlines()[2:]] == [[name("unpriced"), "no", "no"]], text


async def test_a_model_that_comes_to_life_is_offered_and_one_that_leaves_the_file_is_withdrawn(stage: Stage) -> None:
    stage.daemon.write(*stage.entries, process("guest"))
    await stage.offered(also="guest")
    stage.daemon.write(*stage.entries)
    await stage.offered()


async def test_a_container_that_dies_is_withdrawn_until_another_is_ready(stage: Stage) -> None:
    with stage.flagged():
        kill((await (await stage.runner("flagged")).about())["pid"], signal.SIGKILL)
        await stage.offered(without="flagged")
        assert (await stage.node.job(name("flagged"), "echo"))[0] == 503
        assert (await stage.daemon.model("flagged"))["not_offered"]
    await stage.offered()
    assert (await stage.node.job(name("flagged"), "echo"))[0] == 200


async def test_a_node_that_restarts_has_everything_again_registered_once(stage: Stage) -> None:
    epoch = (await stage.daemon.status())["node"]["epoch"]
    await stage.node.kill()
    await stage.node.start()
    await stage.offered()
    await stage.confirmed()
    assert set((await stage.node.state())["registrations"].values()) == {1}
    assert (await stage.daemon.status())["node"]["epoch"] == epoch + 1
    assert (await stage.node.job(name("batch"), "echo"))[0] == 200


async def test_an_orchd_that_restarts_takes_up_what_it_had_offered_and_withdraws_what_left_meanwhile(
    stage: Stage,
) -> None:
    stage.daemon.write(*stage.entries, process("leaver"))
    await stage.offered(also="leaver")
    await stage.daemon.kill()
    stage.daemon.write(*stage.entries)
    await stage.daemon.start()
    await stage.offered()
    assert (await stage.node.job(name("batch"), "echo"))[0] == 200
    assert (await stage.node.call("POST", (await stage.node.listed(name("batch")))["url"] + "/echo"))[0] == 200


async def test_static_runners_are_hidden_and_registered_again_too(tmp_path: Path, instance: str) -> None:
    """By the CLI port, and with the node's certificate of the day pinned."""
    flag = tmp_path / "flag"
    async with NodeProcess(tmp_path / "node", "--use-live-runners") as node:
        settings = {
            "orchestrator__live_runner": "static",
            "orchestrator__register": "live-runner",
            "orchestrator__certificate": f"pin:{node.certificate}",
        }
        entries = (process("held", command=held_by(flag)), process("other"))
        async with orchd_beside(node, tmp_path / "orchd", instance, *entries, docker=False, **settings) as daemon:
            stage = Stage(node, daemon, [], flag)

            async def listed(*models: str) -> None:
                async def so() -> bool:
                    return set(await node.runners()) == {name(model_id) for model_id in models}

                await daemon.until(f"discovery lists {models}", so)

            await listed("held", "other")
            url = (await node.listed(name("held")))["url"]
            assert (await node.call("POST", f"{url}/echo"))[0] == 200
            with stage.flagged():
                kill((await (await stage.runner("held")).about())["pid"], signal.SIGKILL)
                await listed("other")
            await listed("held", "other")
            await node.kill()
            await node.start()
            await listed("held", "other")
            assert await node.capabilities() == {}, "BYOC is left alone"


# -- jobs ------------------------------------------------------------------------------------------------------------


async def test_jobs_arrive_through_both_registries_and_start_a_cold_model(stage: Stage) -> None:
    for model_id in ("batch", "cold"):
        status, text = await stage.node.job(name(model_id), PIPELINE, body='{"prompt": "x"}')
        assert status == 200, text
        said = json.loads(text)
        assert (said["method"], said["target"], said["length"]) == ("POST", f"/{PIPELINE}", 15)
        assert "authorization" not in [header.lower() for header, _ in said["headers"]]
    url = (await stage.node.listed(name("batch")))["url"]
    status, text = await stage.node.call("PUT", f"{url}/echo?a=b%20c", data=b"1234")
    assert status == 200, text
    said = json.loads(text)
    assert (said["method"], said["target"], said["length"]) == ("PUT", "/echo?a=b%20c", 4)


async def test_a_job_beyond_max_sessions_gets_503_by_byoc_and_live_runner_sells_none(stage: Stage) -> None:
    url = (await stage.node.listed(name("batch")))["url"]
    async with stage.job_at_gate("batch"), stage.job_at_gate("batch"):
        status, text = await stage.node.job(name("batch"), "echo")
        assert (status, "capacity_exhausted" in text) == (503, True), text
        await stage.left_out("batch")
        assert name("batch") in await stage.node.capabilities()
        assert (await stage.node.call("POST", f"{url}/echo"))[0] == 404
    await stage.sold("batch", 2)
    assert (await stage.node.job(name("batch"), "echo"))[0] == 200
    assert (await stage.node.call("POST", f"{url}/echo"))[0] == 200


async def test_an_event_stream_over_byoc_ends_for_the_caller_and_for_the_node(stage: Stage) -> None:
    """The runner does not say [DONE]; without it neither would ever notice the end (byoc.md 5.5)."""
    headers = job_headers(name("events"), "events-1") | {"Content-Type": "application/json"}
    seen = b""
    async with stage.node.client.post(
        f"{stage.node.url}/process/request/{PIPELINE}", data="{}", headers=headers
    ) as answer:
        assert answer.content_type == "text/event-stream"
        async for line in answer.content:
            seen += line
            if b"[DONE]" in line:
                break
    assert seen.count(b"data:") == 5, seen  # Three events, the node's balance, the end.
    await stage.free("events")

    async def counted() -> bool:
        return int((await stage.node.capabilities())[name("events")]["load"]) == 0

    await stage.daemon.until("the node has given its slot back", counted)


async def test_a_caller_that_leaves_takes_no_slot_off_the_market(stage: Stage) -> None:
    """The node never gives the slot of such a job back by itself (byoc.md 5.2)."""
    runner = await stage.runner("batch")
    leaked = "the node keeps the slot of a job or stream that is over"

    def told() -> int:
        return len([event for event in stage.daemon.events("byoc_registered") if event["why"] == leaked])

    async with stage.job_at_gate("batch"):
        begun, before = (await runner.seen())["requests"], told()
        gone = spawn(stage.node.job(name("batch"), "hang"), name="job whose caller leaves")
        await runner.seen(requests=begun + 1)
        await cancel(gone)
        await stage.daemon.until("the node was told", lambda: told() > before)
        assert int((await stage.node.capabilities())[name("batch")]["load"]) == 1, "the other job goes on"
    await stage.free("batch")


# -- sessions of Live Runner's ---------------------------------------------------------------------------------------


async def test_a_session_carries_a_websocket_and_long_events_on_one_slot(stage: Stage) -> None:
    status, text = await stage.node.call("POST", (await stage.node.listed(name("session")))["url"])
    assert status == 200, text
    session = json.loads(text)
    async with stage.node.client.ws_connect(f"{session['app_url']}/ws", ssl=trusting()) as socket:
        await socket.send_str("hello")
        assert (await socket.receive_str(timeout=PATIENCE_S)) == "hello"
        model = await stage.daemon.model("session")
        assert model["sessions"]["active"] == 1
        assert [(s["id"], s["origin"]) for s in model["streams"]] == [(session["session_id"], "live-runner")]
        async with stage.node.client.get(f"{session['app_url']}/sse?n=3") as answer:
            assert (await answer.text()).count("data:") == 3
        await socket.send_str("still there")
        assert (await socket.receive_str(timeout=PATIENCE_S)) == "still there"
        assert (await stage.daemon.model("session"))["sessions"]["active"] == 1
        assert (await stage.node.call("POST", f"{session['control_url']}/stop"))[0] == 204
        message = await socket.receive(timeout=PATIENCE_S)
        assert message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED), "a session's end ends its requests"
    await stage.free("session")


async def test_a_session_whose_slot_byoc_has_is_not_sold_until_the_slot_is_free(stage: Stage) -> None:
    """What was reserved in between has no slot, and is stopped: tests/realtime/test_beside_nodes.py."""
    url = (await stage.node.listed(name("session")))["url"]
    async with stage.job_at_gate("session"):
        await stage.left_out("session")
        assert (await stage.node.call("POST", url))[0] == 404
        assert (await stage.daemon.model("session"))["sessions"]["active"] == 1
    await stage.sold("session", 1)
    status, text = await stage.node.call("POST", url)
    assert status == 200, text
    session = json.loads(text)
    assert (await stage.node.call("POST", f"{session['app_url']}/echo"))[0] == 200
    assert (await stage.node.call("POST", f"{session['control_url']}/stop"))[0] == 204
    await stage.free("session")


# -- who is admitted -------------------------------------------------------------------------------------------------


async def test_only_what_bears_the_nodes_token_is_served(stage: Stage) -> None:
    at_node = (await stage.node.capabilities())[name("batch")]
    url = f"{at_node['url']}/echo"
    post = stage.daemon.client.post
    for authorization in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": at_node["token"]}):
        async with post(url, headers=authorization) as answer:
            assert (answer.status, answer.headers["Livepeer-Error"]) == (403, "forbidden")
    async with post(url, headers={"Authorization": f"Bearer {at_node['token']}"}) as answer:
        assert answer.status == 200
    slug = urlsplit(url).path.split("/")[2]
    async with post(f"{stage.daemon.url}/live/{slug}/guess/echo") as answer:
        assert answer.status == 403


async def test_a_paid_job_reaches_no_stream_route_by_whatever_path_the_node_passes_on(stage: Stage) -> None:
    before = await stage.daemon.metric("orchd_job_errors_total", model_id="batch", code="stream_route")
    paths = (
        "stream/stop",
        "stream/start",
        "api/stream/params",
        "stream%2Fstop",
        "%2573tream/stop",
        "stream/stop%3Fa=1",
    )
    for path in paths:
        status, text = await stage.node.job(name("batch"), path)
        assert (status, "stream_route" in text) == (403, True), (path, text)
    after = await stage.daemon.metric("orchd_job_errors_total", model_id="batch", code="stream_route")
    assert after - before == len(paths)
    assert (await stage.node.job(name("batch"), "echo"))[0] == 200
    await stage.free("batch")


async def test_direct_callers_are_refused(stage: Stage) -> None:
    status, _, headers = await stage.daemon.job("batch")
    assert (status, headers["Livepeer-Error"]) == (403, "forbidden")
    async with stage.daemon.client.post(f"{stage.daemon.url}/models/{PIPELINE}/batch/echo") as answer:
        assert answer.status == 403


async def test_a_model_that_is_not_offered_gets_503_on_the_nodes_routes(stage: Stage) -> None:
    """A 4xx would be the gateway's last word (byoc.md 7)."""
    for path in ("/byoc/none", "/byoc/none/echo", "/live/none/segment/echo"):
        async with stage.daemon.client.post(stage.daemon.url + path) as answer:
            assert (answer.status, answer.headers["Livepeer-Error"]) == (503, "not_offered"), path
