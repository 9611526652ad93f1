"""Sessions of clients at both node programs: real sockets through the programs' doubles, on a clock that jumps."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
from aiohttp import web

from orchd.domain.ids import Address, ModelKey
from orchd.domain.model import HealthSpec, StreamSpec
from orchd.domain.offer import NodeProgram
from orchd.doors.routes import Beside
from orchd.hooks.calls import HookCalls
from orchd.jobs.ending import JobListeners
from orchd.jobs.needs import ModelFacts, SessionKeepers, Surroundings
from orchd.jobs.server import JobServer
from orchd.jobs.settings import JobsSettings
from orchd.lag import LoopLag
from orchd.names import Names
from orchd.realtime.container import ContainerStreams
from orchd.realtime.keeper import Keeper
from orchd.realtime.settings import StreamsSettings
from orchd.realtime.stream import StreamEnd
from orchd.sessions.table import SessionTable
from orchd.tasks import cancel, spawn
from tests.chaos.jumping import through_each_program
from tests.doors.test_beside_nodes import node
from tests.fakes.stored import FakeStreamStore
from tests.fakes.streams import FakeRunners, a_letting_go
from tests.jobs.fakes import FakeLog, FakeMetrics
from tests.jobs.model import KEY, a_model, runner_of

MODEL = a_model(
    KEY, stream=StreamSpec(route_prefix=""), health=HealthSpec(ready=("idle",), busy=("ok",)), persistent=True
)
BEAT_S = 5.0


@dataclass
class Stage:
    """A client, a node, orchd and a container.

    Attributes:
        url: of the model at the node, to reserve sessions.
        asked: paths that the container was asked for.
        gate: it answers to `/slow` once this is set.
        listed: sessions that the node has named last.
    """

    url: str
    client: aiohttp.ClientSession
    asked: list[str]
    gate: asyncio.Event
    keeper: Keeper
    table: SessionTable
    runners: FakeRunners
    ended: list[StreamEnd]
    listed: set[str]

    async def reserve(self) -> dict[str, str]:
        async with self.client.post(self.url) as got:
            assert got.status == 200, await got.text()
            found: dict[str, str] = await got.json(content_type=None)
            return found

    async def call(self, session: dict[str, str], path: str) -> tuple[int, str]:
        async with self.client.post(session["app_url"] + path, json={}) as got:
            return got.status, await got.text()

    async def until(self, holds: Callable[[], object]) -> None:
        for _ in range(100):
            if holds():
                return
            await asyncio.sleep(1)
        raise AssertionError("it never came true")


@asynccontextmanager
async def container(asked: list[str], gate: asyncio.Event) -> AsyncIterator[int]:
    async def serve(request: web.Request) -> web.Response:
        await request.read()
        asked.append(request.path)
        if request.path == "/slow":
            await gate.wait()
        return web.json_response({"status": "success"})

    app = web.Application()
    app.router.add_route("*", "/{rest:.*}", serve)
    runner = web.AppRunner(app, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def beside(program: NodeProgram, *, slots: int = 1, sold: int = 1) -> AsyncIterator[Stage]:
    """Run all of them; the node sells `sold` sessions, and orchd has `slots`."""
    asked, ended, listed = list[str](), list[StreamEnd](), set[str]()
    gate = asyncio.Event()
    table = SessionTable(on_drained=lambda _: None, on_wanted=lambda _: None, clock=asyncio.get_running_loop().time)
    models = {KEY: MODEL}
    letting_go, runners = a_letting_go(table), FakeRunners(lambda: models, lambda _: True)
    containers = ContainerStreams(30.0, Names(), LoopLag())
    keeper = Keeper(StreamsSettings(), table, letting_go, FakeStreamStore(), containers, runners)
    server = JobServer(
        JobsSettings(listen=("127.0.0.1:0",)),
        ModelFacts(lambda: models, lambda _: (True, ""), lambda _: True),
        SessionKeepers(table, letting_go, keeper),
        HookCalls((), timeout_s=5),
        JobListeners(FakeMetrics(), FakeLog(), lambda _: None),
        Surroundings({}),
    )
    server.use_node(Beside(program))
    keeper.ended.connect(server.stream_ended)
    keeper.ended.connect(ended.append)
    await server.start()
    await server.take_connections()
    table.define(KEY, slots, 4)
    async with (
        container(asked, gate) as worker,
        node(program, server.port) as service,
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=False), timeout=aiohttp.ClientTimeout(total=None)
        ) as client,
    ):
        table.open(runner_of(KEY), Address("127.0.0.1", worker), None)
        stops: set[asyncio.Task[None]] = set()

        async def stop(session: str) -> None:
            async with client.post(f"{service}/apps/one/session/{session}/stop"):
                pass

        def over(key: ModelKey, session: str) -> None:
            stops.add(spawn(stop(session), name="stop"))

        async def beat() -> None:
            secret = "s3cret"
            said = {"runner_id": "one", "app": "a/one", "mode": "persistent", "capacity": sold, "status": "ready"}
            said["runner_url"] = f"http://127.0.0.1:{server.port}/live/{KEY.slug}/segment"
            while True:
                at = asyncio.get_running_loop().time()
                headers = {"Authorization": secret}
                async with client.post(f"{service}/runners/heartbeat", json=said, headers=headers) as got:
                    assert got.status == 200, await got.text()
                    answer = json.loads(await got.read())
                secret = answer.get("heartbeat_secret", secret)
                listed.clear()
                listed.update(answer["session_ids"])
                keeper.listed(KEY, frozenset(listed), at)
                registered.set()
                await asyncio.sleep(BEAT_S)

        registered = asyncio.Event()
        keeper.over_at_node.connect(over)
        running = [spawn(keeper.run(), name="sweep"), spawn(beat(), name="beat")]
        await registered.wait()
        url = f"{service}/apps/one/session"
        try:
            yield Stage(url, client, asked, gate, keeper, table, runners, ended, listed)
            assert not any(task.done() for task in running)
        finally:
            gate.set()
            await cancel(*running, *stops)
            await server.close()
            await keeper.close()
            await containers.close()


@through_each_program
async def test_every_stop_of_a_stream_is_answered_and_the_session_goes_on(program: NodeProgram) -> None:
    async with beside(program) as stage:
        session = await stage.reserve()
        for _ in range(10):
            assert (await stage.call(session, "/stream/start"))[0] == 200
            assert (await stage.call(session, "/stream/stop"))[0] == 200
            await asyncio.sleep(BEAT_S)
        assert stage.asked == ["/stream/start", "/stream/stop"] * 10
        assert stage.listed == {session["session_id"]}
        async with stage.client.post(f"{session['control_url']}/stop") as got:
            assert got.status in (200, 204)
        await stage.until(lambda: stage.table.active(KEY) == 0)
        assert [str(end.outcome) for end in stage.ended] == ["ok"]


@through_each_program
async def test_a_session_that_nobody_uses_makes_room_after_a_minute(program: NodeProgram) -> None:
    async with beside(program) as stage:
        await stage.reserve()
        await stage.until(lambda: stage.table.active(KEY) == 1)
        await asyncio.sleep(65)
        await stage.until(lambda: not stage.listed)
        assert (stage.table.active(KEY), stage.asked) == (0, [])
        session = await stage.reserve()
        assert (await stage.call(session, "/v1/x"))[0] == 200


@through_each_program
async def test_a_slot_that_was_sold_twice_is_503_and_the_session_ends(program: NodeProgram) -> None:
    async with beside(program, slots=1, sold=2) as stage:
        first, second = await stage.reserve(), await stage.reserve()
        assert (await stage.call(first, "/v1/x"))[0] == 200
        status, text = await stage.call(second, "/v1/y")
        assert (status, json.loads(text)["error"]) == (503, "capacity_exhausted")
        await asyncio.sleep(2 * BEAT_S)
        await stage.until(lambda: stage.listed == {first["session_id"]})
        assert stage.asked == ["/v1/x"]


@through_each_program
async def test_an_end_of_orchds_own_reaches_the_client_in_our_words_before_the_node_cuts(program: NodeProgram) -> None:
    async with beside(program) as stage:
        session = await stage.reserve()
        asking = spawn(stage.call(session, "/slow"), name="a request under way")
        await stage.until(lambda: "/slow" in stage.asked)
        stage.runners.gone_bad[runner_of(KEY)] = "its runner has been unhealthy for 15 s"
        status, text = await asking
        assert (status, json.loads(text)["error"]) == (503, "draining")
        await asyncio.sleep(2 * BEAT_S)
        await stage.until(lambda: not stage.listed)
        assert [str(end.outcome) for end in stage.ended] == ["aborted"]
