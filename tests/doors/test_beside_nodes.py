"""What passes between clients of both node programs and a container: real sockets through the programs' doubles.

The loop's clock jumps, so that a minute passes at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from orchd.domain.ids import Address
from orchd.domain.model import InferenceSpec
from orchd.domain.offer import NodeProgram
from orchd.doors.routes import Beside
from orchd.hooks.calls import HookCalls
from orchd.jobs.ending import JobListeners
from orchd.jobs.needs import ModelFacts, SessionKeepers, Surroundings
from orchd.jobs.server import JobServer
from orchd.jobs.settings import JobsSettings
from orchd.sessions.table import SessionTable
from tests.chaos.jumping import run_jumping, through_each_program
from tests.doubles.golivepeer.node import Node as GoLivepeer
from tests.doubles.golivepeer.node import NodeSettings as GoLivepeerSettings
from tests.doubles.livepeer_node.node import Node as LivepeerNode
from tests.doubles.livepeer_node.settings import NodeSettings as LivepeerNodeSettings
from tests.doubles.shared.clock import RealClock
from tests.fakes.streams import a_keeper, a_letting_go
from tests.jobs.fakes import FakeLog, FakeMetrics
from tests.jobs.model import KEY, a_model, runner_of

GO, NODE = NodeProgram.GO_LIVEPEER, NodeProgram.LIVEPEER_NODE
SLOW = InferenceSpec("/image", timeout_s=300.0)


@dataclass
class Stage:
    """A client, a node, orchd and a container.

    Attributes:
        app: the URL that a client calls.
        direct: the URL of the same container for who asks orchd itself.
        asked: what the container was asked, as it came.
        answer: what it answers.
        gate: it waits for this before it does.
        metrics: what orchd has booked.
    """

    app: str
    direct: str
    client: aiohttp.ClientSession
    asked: list[web.Request]
    metrics: FakeMetrics
    answer: Callable[[web.Request], web.Response] = lambda _: web.Response(text="done")
    gate: asyncio.Event = field(default_factory=asyncio.Event)

    async def call(self, path: str, method: str = "POST", **options: Any) -> tuple[int, str, aiohttp.ClientResponse]:
        url = URL(self.app + path, encoded=True)
        async with self.client.request(method, url, allow_redirects=False, **options) as got:
            return got.status, await got.text(), got

    async def booked(self) -> tuple[str, str]:
        """Wait until the one job is booked; return outcome and code."""
        while not self.metrics.jobs:  # noqa: ASYNC110 - it sets no event of ours
            await asyncio.sleep(0.1)
        ((_, outcome, code, _, _),) = self.metrics.jobs
        return outcome, code


@asynccontextmanager
async def container(stage: list[Stage]) -> AsyncIterator[int]:
    async def serve(request: web.Request) -> web.Response:
        await request.read()
        stage[0].asked.append(request)
        await stage[0].gate.wait()
        return stage[0].answer(request)

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
async def orchd(port: int, program: NodeProgram, metrics: FakeMetrics, inference: InferenceSpec) -> AsyncIterator[int]:
    """Serve jobs of a model at that port of this host; yield the port for the node."""
    table = SessionTable(
        on_drained=lambda _: None,
        on_wanted=lambda _: None,
        on_count=lambda key, active: None,
        on_closed=lambda _: None,
        clock=asyncio.get_running_loop().time,
    )
    models = {KEY: a_model(inference=inference, max_sessions=4)}
    letting_go = a_letting_go(table)
    keeper = a_keeper(table, lambda: models, letting_go=letting_go)
    server = JobServer(
        JobsSettings(listen=("127.0.0.1:0",)),
        ModelFacts(lambda: models, lambda _: (True, ""), lambda _: True),
        SessionKeepers(table, letting_go, keeper),
        HookCalls((), timeout_s=5),
        JobListeners(metrics, FakeLog(), lambda _: None),
        Surroundings({}),
    )
    server.use_node(Beside(program))
    table.define(KEY, 4, 4)
    table.open(runner_of(KEY), Address("127.0.0.1", port), None)
    await server.start()
    await server.take_connections()
    try:
        yield server.port
    finally:
        await server.close()


@asynccontextmanager
async def node(program: NodeProgram, port: int) -> AsyncIterator[str]:
    """Run a node that may call this port; yield its service URL."""
    if program is GO:
        async with GoLivepeer(GoLivepeerSettings(use_live_runners=True), RealClock()) as go_livepeer:
            yield go_livepeer.service_url
    else:
        settings = LivepeerNodeSettings(runner_grants=(f"127.0.0.1:{port}",), heartbeat_ttl_s=1e6)
        async with LivepeerNode(settings, RealClock()) as double:
            yield double.service_url


@asynccontextmanager
async def beside(program: NodeProgram, inference: InferenceSpec = SLOW, *, quick: bool = True) -> AsyncIterator[Stage]:
    stages: list[Stage] = []
    metrics = FakeMetrics()
    async with (
        container(stages) as worker,
        orchd(worker, program, metrics, inference) as port,
        node(program, port) as service,
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=False),
            timeout=aiohttp.ClientTimeout(total=None),
            cookie_jar=aiohttp.DummyCookieJar(),
        ) as client,
    ):
        direct = f"http://127.0.0.1:{port}/models/image/org%2Fone"
        stage = Stage(f"{service}/apps/one/app", direct, client, [], metrics)
        stages.append(stage)
        if quick:
            stage.gate.set()
        said = {
            "runner_id": "one",
            "app": "echo/one",
            "mode": "single-shot",
            "capacity": 4,
            "runner_url": f"http://127.0.0.1:{port}/live/{KEY.slug}/segment",
        }
        async with client.post(f"{service}/runners/heartbeat", json=said, headers={"Authorization": "s3cret"}) as got:
            assert got.status == 200
        yield stage
        stage.gate.set()  # What the container was asked ends with the test.


@through_each_program
async def test_a_path_reaches_the_container_as_the_client_has_escaped_it(program: NodeProgram) -> None:
    async with beside(program) as stage:
        for path in ("/a%20b/c?x=1&y=%2520", "/price%2525", "/caf%C3%A9", "/a%3Fb", "/health?deep=1"):
            assert (await stage.call(path))[0] == 200
            assert stage.asked[-1].raw_path == path


@through_each_program
async def test_dot_segments_that_are_escaped_again_and_again_lead_nowhere_else(program: NodeProgram) -> None:
    async with beside(program) as stage:
        for path in ("/%252e%252e/x", "/a/%25252e%25252e/%25252e%25252e/x"):
            assert (await stage.call(path))[0] == 200
            assert stage.asked[-1].raw_path == path, "what an escape is escaped for stays a name"


@through_each_program
async def test_payment_stays_outside_and_the_session_is_told(program: NodeProgram) -> None:
    async with beside(program) as stage:
        headers = {"Livepeer-Payment": "p", "Livepeer-Segment": "s", "Livepeer-Payer-Address": "0x0", "X-A": "b"}
        assert (await stage.call("/x", headers=headers))[0] == 200
        got = stage.asked[-1].headers
        assert not set(headers) - {"X-A"} & set(got)
        assert (got["X-A"], bool(got["Livepeer-Session-Token"])) == ("b", True)
        assert not [name for name in got if name.startswith("Livepeer-Pay") or name == "Livepeer-Segment"]


@through_each_program
async def test_the_nodes_own_words_are_not_the_containers_and_its_location_can_be_followed(
    program: NodeProgram,
) -> None:
    async with beside(program) as stage:
        for status in (402, 480, 482):
            stage.answer = lambda _, status=status: web.Response(status=status)  # type: ignore[misc]
            assert (await stage.call("/x"))[0] == 502
        stage.answer = lambda _: web.Response(status=307, headers={"Location": "/docs/"})
        for path in ("/", "/a", "/a/b?x=/y"):
            status, _, got = await stage.call(path)
            assert (status, str(got.url.join(URL(got.headers["Location"])))) == (307, f"{stage.app}/docs/")


@through_each_program
async def test_a_slot_that_was_sold_twice_is_refused_before_the_container_is_asked(program: NodeProgram) -> None:
    """The node has four free places, and direct callers have taken all four."""
    async with beside(program, quick=False) as stage, asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(stage.client.post(URL(f"{stage.direct}/x", encoded=True), data=b"x"))
        while len(stage.asked) < 4:  # noqa: ASYNC110 - it sets no event of ours
            await asyncio.sleep(0.1)
        status, _, got = await stage.call("/x", data=b"x")
        assert (status, got.headers["Livepeer-Error"]) == (503, "capacity_exhausted")
        assert len(stage.asked) == 4
        stage.gate.set()


def test_livepeer_nodes_client_is_told_why_before_the_node_gives_up() -> None:
    async def story() -> None:
        async with beside(NODE, quick=False) as stage:
            status, text, got = await stage.call("/x", data=b"x")
            assert (status, got.headers["Livepeer-Error"]) == (504, "backend_timeout")
            assert "inference.early_head_s" in text
            assert await stage.booked() == ("timeout", "backend_timeout")

    run_jumping(story())


def test_with_an_early_head_the_client_gets_what_comes_after_minutes() -> None:
    async def story() -> None:
        early = InferenceSpec("/image", timeout_s=300.0, early_head_s=50.0)
        async with beside(NODE, early, quick=False) as stage:
            asyncio.get_running_loop().call_later(200, stage.gate.set)
            status, text, got = await stage.call("/x", json={"a": 1}, headers={"Accept": "application/json"})
            assert (status, text, got.content_type) == (200, "done", "application/json")
            assert await stage.booked() == ("ok", "")

    run_jumping(story())


def test_an_error_after_an_early_head_does_not_look_like_an_answer() -> None:
    async def story() -> None:
        early = InferenceSpec("/image", timeout_s=300.0, early_head_s=50.0)
        async with beside(NODE, early, quick=False) as stage:
            asyncio.get_running_loop().call_later(200, stage.gate.set)
            stage.answer = lambda _: web.Response(status=500, text="out of memory")
            with pytest.raises(aiohttp.ClientPayloadError):
                await stage.call("/x", data=b"x")
            assert await stage.booked() == ("backend_failed", "backend_broke")

    run_jumping(story())


def test_beside_go_livepeer_a_job_has_the_time_that_its_entry_gives() -> None:
    async def story() -> None:
        async with beside(GO, quick=False) as stage:
            asyncio.get_running_loop().call_later(200, stage.gate.set)
            assert (await stage.call("/x", data=b"x"))[:2] == (200, "done")

    run_jumping(story())
