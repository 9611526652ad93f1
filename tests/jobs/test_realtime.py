"""Realtime sessions over requests: one slot from start to end, whoever leaves, refuses, dies or repeats himself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchd.domain.ids import ModelKey
from orchd.domain.model import ExternalLaunch, HealthSpec, InferenceSpec, Model, StreamSpec
from orchd.domain.origins import Origin
from orchd.domain.outcomes import Outcome
from orchd.domain.phases import StreamPhase
from orchd.domain.ports import ProbeWord
from orchd.domain.stores import StoredStream
from orchd.errors import Code, JobRefused
from orchd.realtime.container import ContainerSilent, Reply
from orchd.realtime.keeper import SWEEP_S
from orchd.realtime.node_ends import ANSWER_S
from orchd.realtime.routes import StreamCall
from orchd.realtime.stream import Stream
from orchd.tasks import cancel, spawn
from tests.fakes.stored import FakeStreamStore
from tests.fakes.streams import FakeContainers
from tests.jobs.fakes import Bench, Charging, FakeHook
from tests.jobs.messages import SWITCHED, answer, refused, request
from tests.jobs.model import ADDRESS, a_model, runner_of
from tests.relay.transport import FakeTransport
from tests.soak import examples
from tests.virtual_time import virtual_time

KEY = ModelKey("live-video-to-video", "tint")
MODEL = a_model(
    KEY,
    stream=StreamSpec(post_starts_stream=True),
    health=HealthSpec(ready=("idle",), busy=("ok",)),
    inference=InferenceSpec("/live-video-to-video"),
    persistent=True,
)
BYOC, LIVE, DIRECT = f"/byoc/{KEY.slug}", f"/live/{KEY.slug}/segment", "/models/live-video-to-video/tint"
MIB = 1024 * 1024


class Studio(Bench):
    """A bench with one model that has streams."""

    def __init__(self, *, model: Model = MODEL, hooks: list[FakeHook] | None = None, **settings: Any) -> None:
        super().__init__(models=(model,), hooks=hooks, **settings)
        self.told_node: list[str] = []
        self.keeper.over_at_node.connect(lambda key, session: self.told_node.append(session))

    @property
    def containers(self) -> FakeContainers:
        assert isinstance(self.keeper.containers, FakeContainers)
        return self.keeper.containers

    @property
    def stored(self) -> set[str]:
        assert isinstance(self.keeper._records._store, FakeStreamStore)
        return {name for _, name in self.keeper._records._store.kept}

    @property
    def active(self) -> int:
        return self.table.active(KEY)

    def stream(self, name: str = "s1") -> Stream:
        stream = self.keeper.streams.find(KEY, name)
        assert stream is not None
        return stream

    def settled(self) -> list[str]:
        (hook,) = self.hooks
        sessions = [session.id for session, _ in hook.settled]
        assert len(set(sessions)) == len(sessions), "each session is settled once"
        return [str(outcome) for _, outcome in hook.settled]

    async def ask(
        self, call: str, name: str = "s1", body: bytes = b"{}", via: str = BYOC, headers: Mapping[str, str] = {}
    ) -> FakeTransport:
        return await self.serve(asked(call, name, body, via, headers))

    async def started(self, name: str = "s1", via: str = BYOC) -> Stream:
        caller = await self.ask("start", name, via=via)
        assert caller.messages[0].status == 200
        return self.stream(name)


def asked(call: str, name: str = "s1", body: bytes = b"{}", via: str = BYOC, headers: Mapping[str, str] = {}) -> bytes:
    named = "Livepeer-Session-Id" if via == LIVE else "X-Stream-Id"
    given = {"Content-Type": "application/json", **({named: name} if name else {}), **headers}
    method = "GET" if call == "status" else "POST"
    return request(*given.items(), target=f"{via}/stream/{call}", body=body, method=method)


def code_of(caller: FakeTransport) -> Code:
    (message,) = caller.messages
    return refused(message)


def status_of(caller: FakeTransport) -> int:
    (message,) = caller.messages
    return message.status


# A stream's life.


@pytest.mark.parametrize("via", [BYOC, "/models/live-video-to-video/tint", ""])
def test_a_stream_holds_one_slot_from_its_start_to_its_stop(via: str) -> None:
    @virtual_time
    async def run() -> None:
        studio = Studio()
        caller = await studio.ask("start", body=b'{"gateway_request_id": "s1"}', via=via)
        assert (status_of(caller), caller.messages[0].body) == (200, b'{"status":"success"}')
        assert studio.active == 1
        assert studio.stream().phase is StreamPhase.RUNNING
        assert studio.stored == {"s1"}
        assert studio.outcomes == [], "it is no job before it has ended"
        assert status_of(await studio.ask("params", body=b'{"a":1}', via=via)) == 200
        assert status_of(await studio.ask("update", via=via)) == 200
        assert status_of(await studio.ask("status", body=b"", via=via)) == 200
        assert studio.active == 1
        assert status_of(await studio.ask("stop", body=b"", via=via)) == 200
        assert studio.active == 0
        assert studio.containers.calls == [
            StreamCall.START,
            StreamCall.UPDATE,
            StreamCall.UPDATE,
            StreamCall.STATUS,
            StreamCall.STOP,
        ]
        assert studio.stored == set()
        assert studio.settled() == studio.outcomes == ["ok"]
        assert studio.network.dialled == [], "calls about streams don't go the way of jobs"

    run()


@pytest.mark.parametrize(
    "target",
    [BYOC, f"{BYOC}/live/video-to-video", "/live-video-to-video", "/live/video-to-video", f"{BYOC}/api/stream/start"],
)
def test_a_start_may_be_spelled_in_many_ways(target: str) -> None:
    @virtual_time
    async def run() -> None:
        studio = Studio()
        caller = await studio.serve(request(("X-Stream-Id", "s1"), target=target, body=b"{}"))
        assert status_of(caller) == 200
        assert studio.containers.calls == [StreamCall.START]
        assert studio.stream().phase is StreamPhase.RUNNING

    run()


@virtual_time
async def test_a_container_without_streams_gets_what_looks_like_one_as_a_job() -> None:
    studio = Studio(model=replace(MODEL, stream=StreamSpec(route_prefix=None)))
    assert status_of(await studio.ask("start", body=b"abc")) == 200
    assert studio.network.requests[0].first == "POST /stream/start HTTP/1.1"
    assert studio.outcomes == ["ok"]


@virtual_time
async def test_a_start_is_named_by_its_header_then_by_its_body_then_by_its_request() -> None:
    studio = Studio(model=replace(MODEL, max_sessions=3))
    """Of a direct caller's; in the node's it is the header that counts."""
    named = request(("X-Stream-Id", "a"), target=f"{BYOC}/stream/start", body=b'{"gateway_request_id": "no"}')
    said = request(target=f"{DIRECT}/stream/start", body=b'{"gateway_request_id": "b"}')
    nameless = request(("Livepeer-Request-Id", "c"), target=f"{DIRECT}/stream/start", body=b'{"gateway_request_id": 7}')
    for each in (named, said, nameless):
        assert status_of(await studio.serve(each)) == 200
    assert {stream.id for stream in studio.keeper.streams} == {"a", "b", "c"}


@virtual_time
async def test_the_container_sees_what_is_its_own_and_nothing_of_the_payment() -> None:
    studio = Studio()
    secret = {
        "Authorization": "Bearer t",
        "Livepeer-Payment": "p",
        "Livepeer": "x",
        "Cookie": "c",
        "Livepeer-Segment": "s",
    }
    own = {
        "Livepeer-Runner-Route": "r1",
        "Livepeer-Session-Token": "t1",
        "Livepeer-Session-Control": "http://node/runner/r1/session/s1",
    }
    await studio.ask("start", via=LIVE, headers=secret | own)
    _, address, headers, body = studio.containers.asked[0]
    assert (address, body) == (ADDRESS, b"{}")
    named = {"Livepeer-Session-Id": "s1", "X-Stream-Id": "s1"}
    assert headers == own | named | {"Content-Type": "application/json"}
    studio.keeper.released(KEY, "s1")
    await studio.settle()
    await studio.ask("start", "s2", headers=secret | own)
    assert studio.containers.asked[-1][2] == {"X-Stream-Id": "s2", "Content-Type": "application/json"}


@virtual_time
async def test_the_containers_own_answer_passes_with_our_request_id_alone() -> None:
    studio = Studio()
    theirs = ((b"Content-Type", b"text/x"), (b"X-Metadata", b"m"), (b"livepeer-request-id", b"theirs"))
    studio.containers.answers[StreamCall.START] = Reply(202, theirs, b"whatever")
    (got,) = (await studio.ask("start", headers={"Livepeer-Request-Id": "mine"})).messages
    assert (got.status, got.body, got.header("X-Metadata")) == (202, b"whatever", "m")
    assert (got.header("Content-Type"), got.header("Livepeer-Request-Id")) == ("text/x", "mine")


# Whose stream it is.


def plain_jobs() -> list[bytes]:
    """Return what a gateway's paid job can make the node send: any path and body, and no header of its own."""
    paths = ["stream/stop", "stream/start", "stream/params", "stream/update", "stream/any", "api/stream/stop"]
    paths += [
        "",
        "live-video-to-video",
        "live/video-to-video",
        "Stream/STOP",
        "stream//stop",
        "stream/stop/",
        "/stream/stop",
    ]
    paths += [
        "stream/%73top",
        "stream%2fstop",
        "stream/x/../stop",
        "x/../stream/stop",
        "stream/./stop",
        "stream/stop;a=1",
    ]
    paths += ["stream/stop?a=1", "stream/stop%3Fa=1", "%2573tream/stop", "stream\\stop", "live-video-to-video/"]
    body = b'{"gateway_request_id": "s1", "stream_id": "s1"}'
    sent = (("Content-Type", "application/json"), ("Authorization", "Bearer t"))
    methods = [(path, "POST") for path in paths] + [("stream/status", "GET"), ("stream/stop", "DELETE")]
    return [
        request(*sent, *more, target=f"{BYOC}/{path}", body=body, method=method)
        for path, method in methods
        for more in ((), (("X-Stream-Id", ""),))
    ]


@virtual_time
async def test_no_job_of_the_nodes_reaches_a_stream_or_the_container_by_a_stream_route() -> None:
    studio = Studio(model=replace(MODEL, max_sessions=2))
    await studio.started()
    for data in plain_jobs():
        (got,) = (await studio.serve(data)).messages
        assert (refused(got), got.status) == (Code.STREAM_ROUTE, 403), data
    assert studio.containers.calls == [StreamCall.START], "the container never sees it"
    assert studio.network.dialled == []
    assert studio.stream().phase is StreamPhase.RUNNING
    assert studio.active == 1
    assert set(studio.codes) == {"stream_route"}
    assert all(key == KEY for key, *_ in studio.metrics.jobs)
    assert status_of(await studio.serve(request(target=f"{BYOC}/predict", body=b"x"))) == 200, "jobs go on"


@virtual_time
async def test_a_stream_route_below_a_base_path_is_known_too() -> None:
    away = ADDRESS._replace(base_path="/stream")
    studio = Studio(model=replace(MODEL, launch=ExternalLaunch(away)))
    assert code_of(await studio.serve(request(target=f"{BYOC}/stop", body=b"{}"))) is Code.STREAM_ROUTE


@pytest.mark.parametrize("path", ["stream//stop", "stream/%73top", "stream/stop/", "x/../stream/stop"])
def test_a_call_that_is_spelled_oddly_never_rides_to_the_container_as_a_job(path: str) -> None:
    @virtual_time
    async def run() -> None:
        studio = Studio(model=replace(MODEL, max_sessions=2))
        await studio.started("a")
        await studio.started("b", via=LIVE)
        for via, name in ((LIVE, "Livepeer-Session-Id"), (BYOC, "X-Stream-Id")):
            caller = await studio.serve(request((name, "b"), ("X-Stream-Id", "a"), target=f"{via}/{path}", body=b"{}"))
            assert code_of(caller) is Code.BAD_REQUEST
        assert studio.network.dialled == []
        assert {stream.id for stream in studio.keeper.streams} == {"a", "b"}

    run()


@virtual_time
async def test_on_live_runners_routes_only_the_nodes_own_header_names_the_session() -> None:
    studio = Studio(model=replace(MODEL, max_sessions=2))
    await studio.started("a", via=LIVE)
    for call in ("start", "stop", "params", "status"):
        theirs = {"X-Stream-Id": "a"}
        caller = await studio.ask(call, "", body=b'{"gateway_request_id": "a"}', via=LIVE, headers=theirs)
        assert code_of(caller) is Code.BAD_REQUEST
    await studio.started("b", via=LIVE)
    for call in ("params", "status", "stop"):
        await studio.ask(call, "b", via=LIVE, headers={"X-Stream-Id": "a"})
    named = [(headers["Livepeer-Session-Id"], headers["X-Stream-Id"]) for _, _, headers, _ in studio.containers.asked]
    assert named == [("a", "a"), ("b", "b"), ("b", "b"), ("b", "b"), ("b", "b")]
    assert studio.stream("a").phase is StreamPhase.RUNNING


@pytest.mark.parametrize("via", [BYOC, LIVE, DIRECT])
def test_every_call_names_its_stream_whoever_asks(via: str) -> None:
    """A container may have streams of others, which a call without a name could be about."""

    @virtual_time
    async def run() -> None:
        studio = Studio(model=replace(MODEL, max_sessions=4))
        for name in ("a", "b", "caf\u00e9 \u6a21"):
            sent = name.encode().decode("latin-1")
            for call in ("start", "params", "status"):
                assert status_of(await studio.ask(call, sent, via=via)) == 200
        studio.keeper.end_soon(studio.stream("b"), Outcome.TIMEOUT, "orchd ends it")
        await studio.idle()
        await studio.ask("stop", "a", via=via)
        studio.keeper.released(KEY, "caf\u00e9 \u6a21")
        for stream in tuple(studio.keeper.streams):
            await studio.keeper.end(stream, Outcome.ABORTED, "a hook refused")
        await studio.idle()
        said = [(call, headers["X-Stream-Id"]) for call, _, headers, _ in studio.containers.asked]
        calls = [StreamCall.START, StreamCall.UPDATE, StreamCall.STATUS]
        names = ("a", "b", "caf\u00e9 \u6a21")
        assert said[:9] == [(call, name) for name in names for call in calls]
        assert said[9:] == [(StreamCall.STOP, "b"), (StreamCall.STOP, "a"), (StreamCall.STOP, "caf\u00e9 \u6a21")]

    run()


@pytest.mark.parametrize("name", ["\xff", "a\xe9", "x" * 257, "a\x0bb"])
@pytest.mark.parametrize("via", [BYOC, LIVE])
def test_a_name_that_would_not_reach_the_container_as_it_is_is_400(name: str, via: str) -> None:
    @virtual_time
    async def run() -> None:
        studio = Studio()
        for call in ("start", "stop", "params", "status"):
            assert status_of(await studio.ask(call, name, via=via)) == 400
        assert studio.containers.calls == []
        assert studio.active == 0

    run()


@pytest.mark.parametrize("via", [BYOC, LIVE, DIRECT])
def test_a_start_that_is_no_json_is_400_and_takes_no_slot(via: str) -> None:
    @virtual_time
    async def run() -> None:
        studio = Studio()
        for body in (
            b"x",
            b"[" * 50_000,
            b'{"gateway_request_id": "\\ud800"}',
            b'{"a": "\xed\xa0\x80"}',
            b"[]",
            b"{}{}",
        ):
            for target in (f"{via}/stream/start", f"{via}/api/stream/start", f"{via}/live-video-to-video"):
                named = ("Livepeer-Session-Id" if via == LIVE else "X-Stream-Id", "s1")
                caller = await studio.serve(request(named, target=target, body=body))
                assert code_of(caller) is Code.BAD_REQUEST
        nameless = await studio.ask("start", "", body=b'{"gateway_request_id": "a\\nb"}', via=DIRECT)
        assert code_of(nameless) is Code.BAD_REQUEST
        for body in (b"\xff\x00", b"[" * 50_000, b'{"gateway_request_id": "\\ud800"}'):
            for call in ("params", "stop"):
                assert status_of(await studio.ask(call, body=body, via=via)) in (200, 404)
                assert status_of(await studio.ask(call, "", body=body, via=DIRECT)) in (200, 400, 404)
        assert studio.containers.calls == []
        assert studio.active == 0
        assert "internal_error" not in studio.codes

    run()


BODIES = st.one_of(
    st.binary(max_size=60),
    st.text(max_size=20).map(lambda text: json.dumps({"gateway_request_id": text}).encode()),
    st.text(st.characters(categories=["Cs", "Cc", "L"]), max_size=5).map(
        lambda text: json.dumps({"gateway_request_id": text, "params": text}).encode()
    ),
    st.integers(1, 20_000).map(lambda depth: b'{"a":' * depth),
)


@settings(max_examples=examples(240))
@given(
    BODIES,
    st.sampled_from(["start", "stop", "params", "update", "status"]),
    st.sampled_from([BYOC, LIVE, DIRECT, ""]),
    st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"), max_size=12),
    st.booleans(),
)
def test_no_bytes_in_a_call_about_a_stream_are_a_fault_of_orchds(
    body: bytes, call: str, via: str, name: str, runs: bool
) -> None:
    @virtual_time
    async def run() -> None:
        studio = Studio()
        if runs:
            await studio.started()
        caller = await studio.ask(call, name, body=body, via=via)
        assert status_of(caller) in (200, 400, 403, 404, 503)
        assert "internal_error" not in studio.codes
        assert studio.active == len(tuple(studio.keeper.streams))

    run()


# Starts that don't succeed.


@virtual_time
async def test_a_second_start_of_a_name_is_503_and_the_container_never_sees_it() -> None:
    """go-livepeer sends one when a gateway repeats an id; PyTrickle 0.1.6 would replace the stream by it."""
    studio = Studio(model=replace(MODEL, max_sessions=2))
    await studio.started()
    for via in (BYOC, "/models/live-video-to-video/tint", LIVE):
        assert code_of(await studio.ask("start", via=via)) is Code.STREAM_RUNNING
    assert studio.containers.calls == [StreamCall.START]
    assert studio.active == 1
    assert studio.stream().phase is StreamPhase.RUNNING


@pytest.mark.parametrize("where", ["admitting", "starting"])
def test_of_two_starts_at_once_one_reaches_the_container(where: str) -> None:
    @virtual_time
    async def run() -> None:
        gate = asyncio.Event()

        class Slow(FakeHook):
            async def wait(self, call: str) -> None:
                await gate.wait()

        studio = Studio(
            model=replace(MODEL, max_sessions=2), hooks=[Slow(waits={"admit"} if where == "admitting" else set())]
        )
        if where == "starting":
            studio.containers.gates[StreamCall.START] = gate
        first, second = studio.caller(asked("start")), studio.caller()
        await studio.settle()
        second.say(asked("start"))
        await studio.settle()
        assert code_of(second) is Code.STREAM_RUNNING
        gate.set()
        await studio.idle()
        assert status_of(first) == 200
        assert studio.containers.calls == [StreamCall.START]
        assert studio.active == 1

    run()


@virtual_time
async def test_two_starts_of_a_name_that_wait_for_a_cold_model_begin_one_stream() -> None:
    studio = Studio(model=replace(MODEL, max_sessions=2), is_open=False)
    studio.table.set_closed(KEY, startable=True, code=Code.NOT_READY, reason="it is cold")
    callers = [studio.caller(asked("start")), studio.caller(asked("start"))]
    await studio.settle()
    assert studio.wanted == [KEY, KEY]
    studio.table.open(runner_of(KEY), ADDRESS, None)
    await studio.idle()
    assert sorted(map(status_of, callers)) == [200, 503]
    assert studio.containers.calls == [StreamCall.START]
    assert studio.active == 1
    assert studio.settled() == ["refused"], "the slot of the second one"
    await studio.ask("stop")
    assert studio.settled() == ["refused", "ok"]


@virtual_time
async def test_beyond_max_sessions_a_start_is_503_and_a_stop_makes_room() -> None:
    studio = Studio()
    await studio.started()
    assert code_of(await studio.ask("start", "s2")) is Code.CAPACITY_EXHAUSTED
    await studio.ask("stop")
    await studio.started("s2")
    assert studio.containers.calls == [StreamCall.START, StreamCall.STOP, StreamCall.START]


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("call", ["identify", "admit"])
def test_a_hook_that_refuses_a_start_costs_no_slot_and_the_container_hears_nothing(call: str, waits: bool) -> None:
    @virtual_time
    async def run() -> None:
        hook = FakeHook(fails={call: JobRefused(Code.FORBIDDEN, "cannot serve you")}, waits={call} if waits else set())
        studio = Studio(hooks=[hook])
        assert code_of(await studio.ask("start")) is Code.FORBIDDEN
        assert studio.active == 0
        assert list(studio.keeper.streams) == []
        assert studio.containers.calls == []
        assert studio.settled() == (["refused"] if call == "admit" else [])
        assert studio.outcomes == ["refused"]

    run()


@virtual_time
async def test_a_reservation_outlives_a_start_that_was_refused() -> None:
    hook = FakeHook(fails={"admit": JobRefused(Code.FORBIDDEN, "cannot serve you")})
    studio = Studio(hooks=[hook])
    studio.keeper.reserved(KEY, "s1")
    assert code_of(await studio.ask("start", via=LIVE)) is Code.FORBIDDEN
    hook.fails.clear()
    studio.containers.answers[StreamCall.START] = Reply(503, (), b"still loading")
    assert status_of(await studio.ask("start", via=LIVE)) == 503
    assert studio.stream().phase is StreamPhase.HELD
    assert studio.active == 1
    del studio.containers.answers[StreamCall.START]
    await studio.started(via=LIVE)
    assert studio.active == 1
    assert studio.settled() == []


@pytest.mark.parametrize("status", [400, 404, 409, 500, 503])
def test_a_container_that_refuses_a_start_gives_its_slot_back(status: int) -> None:
    @virtual_time
    async def run() -> None:
        studio = Studio()
        studio.containers.answers[StreamCall.START] = Reply(status, (), b"no")
        (got,) = (await studio.ask("start")).messages
        assert (got.status, got.body) == (status, b"no")
        assert studio.active == 0
        assert studio.containers.calls == [StreamCall.START], "there is nothing to stop"
        assert studio.stored == set()
        assert studio.settled() == ["refused"]
        assert studio.outcomes == ["runner_error" if status >= 500 else "ok"]
        assert studio.log.lines[-1]["outcome"] == studio.outcomes[-1]
        assert studio.log.lines[-1]["status"] == studio.metrics.statuses[-1] == status

    run()


@pytest.mark.parametrize("status", [301, 307, 401])
@pytest.mark.parametrize("via", [BYOC, LIVE])
def test_a_401_or_a_redirect_is_502_over_byoc_alone(status: int, via: str) -> None:
    @virtual_time
    async def run() -> None:
        studio = Studio()
        studio.containers.answers[StreamCall.START] = Reply(status, (), b"no")
        caller = await studio.ask("start", via=via)
        if via == BYOC:
            assert code_of(caller) is Code.BACKEND_UNUSABLE
        else:
            assert status_of(caller) == status
        assert studio.active == (via == LIVE), "a reservation stays"

    run()


@pytest.mark.parametrize("via", [BYOC, LIVE])
def test_a_start_without_an_answer_is_stopped_since_nobody_knows_what_it_did(via: str) -> None:
    @virtual_time
    async def run() -> None:
        studio = Studio()
        studio.containers.answers[StreamCall.START] = ContainerSilent("gave no answer to start within 30 s")
        stopping = studio.containers.gates[StreamCall.STOP] = asyncio.Event()
        caller = studio.caller(asked("start", via=via))
        await studio.settle()
        assert code_of(caller) is Code.BACKEND_UNAVAILABLE
        assert studio.containers.calls == [StreamCall.START, StreamCall.STOP]
        assert studio.active == 1, "the container may be at work on it"
        assert studio.hurried == [runner_of(KEY)]
        stopping.set()
        await studio.idle()
        await asyncio.sleep(5)
        assert studio.told_node == []
        if via == LIVE:
            assert studio.stream().phase is StreamPhase.HELD, "the session is the client's, who may try again"
            await studio.keeper.end(studio.stream(), Outcome.OK, "the test ends")
            await studio.settle()
            assert studio.outcomes == ["backend_failed"], "the start is a job that failed"
        else:
            assert studio.outcomes == studio.settled() == ["backend_failed"]
        assert studio.active == 0

    run()


@virtual_time
async def test_a_container_that_can_not_even_be_stopped_gives_its_slot_back_in_time() -> None:
    studio = Studio()
    gone = ContainerSilent("can't be asked: refused")
    studio.containers.answers.update({StreamCall.START: gone, StreamCall.STOP: gone})
    assert code_of(await studio.ask("start")) is Code.BACKEND_UNAVAILABLE
    assert (studio.active, studio.table.letting_go(KEY), studio.settled()) == (1, 1, ["backend_failed"])
    await asyncio.sleep(MODEL.inference.timeout_s)
    assert studio.active == 0


def caller_leaves(studio: Studio, caller: FakeTransport) -> None:
    caller.lose()


def runner_dies(studio: Studio, caller: FakeTransport) -> None:
    studio.table.close(runner_of(KEY), Code.NOT_READY, "it has died")
    studio.table.abort(runner_of(KEY), "it has died")
    studio.table.gone(runner_of(KEY))


def node_releases(studio: Studio, caller: FakeTransport) -> None:
    studio.keeper.released(KEY, "s1")


def is_stopped(studio: Studio, caller: FakeTransport) -> None:
    studio.caller(asked("stop", via=LIVE))


def orchd_stops(studio: Studio, caller: FakeTransport) -> None:
    studio.handler.abort_all("orchd is shutting down")


@pytest.mark.parametrize("turns", range(12))
@pytest.mark.parametrize("happens", [caller_leaves, runner_dies, node_releases, is_stopped, orchd_stops])
@pytest.mark.parametrize("waits", [False, True])
def test_whatever_ends_a_start_in_its_middle_ends_it_once_and_gives_the_slot_back(
    waits: bool, happens: Any, turns: int
) -> None:
    @virtual_time
    async def run() -> None:
        hook = Charging(waits={"identify", "admit", "settle"} if waits else set())
        studio = Studio(hooks=[hook])
        studio.keeper.reserved(KEY, "s1")
        if turns % 2:
            studio.containers.gates[StreamCall.START] = asyncio.Event()
        caller = studio.caller(asked("start", via=LIVE))
        for _ in range(turns):
            await asyncio.sleep(0)
        happens(studio, caller)
        await studio.settle()
        for gate in studio.containers.gates.values():
            gate.set()
        await studio.settle()
        if (stream := studio.keeper.streams.find(KEY, "s1")) is not None:
            assert happens is not runner_dies
            assert stream.phase in (StreamPhase.HELD, StreamPhase.RUNNING)
            await studio.keeper.end(stream, Outcome.OK, "the test ends")
        await studio.idle()
        assert studio.active == 0
        assert list(studio.keeper.streams) == []
        assert studio.stored == set()
        assert len(studio.settled()) == studio.table.begun(KEY)
        assert not studio.handler._accounts._streams
        if StreamCall.STOP in studio.containers.calls:
            assert studio.containers.calls == [StreamCall.START, StreamCall.STOP]
        if StreamCall.START in studio.containers.calls and happens is not runner_dies:
            assert StreamCall.STOP in studio.containers.calls, "what was started is stopped"
        await studio.keeper.close()
        await studio.handler.close()

    run()


@virtual_time
async def test_a_stop_waits_for_the_start_that_is_under_way() -> None:
    """PyTrickle takes a start while it loads, and would say to the stop that nothing runs (container.md 2.2)."""
    studio = Studio()
    studio.containers.gates[StreamCall.START] = asyncio.Event()
    starter = studio.caller(asked("start"))
    await studio.settle()
    stopper = studio.caller(asked("stop"))
    await studio.settle()
    assert studio.containers.calls == [StreamCall.START]
    assert stopper.sent == b""
    studio.containers.gates[StreamCall.START].set()
    await studio.idle()
    assert studio.containers.calls == [StreamCall.START, StreamCall.STOP]
    assert status_of(stopper) == 200
    assert code_of(starter) is Code.STREAM_UNKNOWN
    assert studio.active == 0
    assert len(studio.settled()) == 1


@virtual_time
async def test_a_caller_who_leaves_does_not_have_his_start_overtaken_by_its_stop() -> None:
    studio = Studio()
    studio.containers.gates[StreamCall.START] = asyncio.Event()
    caller = studio.caller(asked("start"))
    await studio.settle()
    caller.lose()
    await studio.settle()
    assert (studio.active, studio.containers.calls) == (1, [StreamCall.START])
    studio.containers.gates[StreamCall.START].set()
    await studio.idle()
    assert (studio.active, studio.containers.calls) == (0, [StreamCall.START, StreamCall.STOP])
    assert studio.outcomes == studio.settled() == ["client_gone"]


@virtual_time
async def test_questions_about_a_stream_that_is_being_started_do_not_end_it() -> None:
    studio = Studio()
    studio.containers.gates[StreamCall.START] = asyncio.Event()
    starter = studio.caller(asked("start"))
    await studio.settle()
    for call in ("status", "params"):
        caller = studio.caller(asked(call))
        await studio.settle()
        assert status_of(caller) == 200
    studio.containers.answers[StreamCall.UPDATE] = ContainerSilent("gave no answer")
    caller = studio.caller(asked("params"))
    await studio.settle()
    assert code_of(caller) is Code.BACKEND_UNAVAILABLE
    studio.containers.gates[StreamCall.START].set()
    await studio.idle()
    assert status_of(starter) == 200
    assert studio.stream().phase is StreamPhase.RUNNING
    assert StreamCall.STOP not in studio.containers.calls


# Stops, updates, status.


@virtual_time
async def test_a_stop_may_come_three_times_and_for_what_never_was() -> None:
    studio = Studio()
    await studio.started()
    for name in ("s1", "s1", "s1", "never"):
        assert status_of(await studio.ask("stop", name, body=b"plain text")) == 200
    assert studio.containers.calls == [StreamCall.START, StreamCall.STOP]
    assert studio.containers.asked[1][3] == b"plain text"
    assert studio.active == 0
    assert studio.outcomes == ["ok"]


@virtual_time
async def test_three_stops_at_once_reach_the_container_as_one() -> None:
    studio = Studio()
    await studio.started()
    studio.containers.gates[StreamCall.STOP] = asyncio.Event()
    callers = [studio.caller(asked("stop")) for _ in range(3)]
    await studio.settle()
    callers[0].lose()
    await studio.settle()
    assert studio.active == 1
    studio.containers.gates[StreamCall.STOP].set()
    await studio.idle()
    assert [status_of(caller) for caller in callers[1:]] == [200, 200]
    assert studio.containers.calls == [StreamCall.START, StreamCall.STOP]
    assert studio.active == 0


@pytest.mark.parametrize(
    ("reply", "confirmed"),
    [(Reply(400, (), b"never started"), True), (Reply(500, (), b""), False), (ContainerSilent("hangs"), False)],
)
def test_a_stop_succeeds_whatever_the_container_says(reply: Reply | ContainerSilent, confirmed: bool) -> None:
    @virtual_time
    async def run() -> None:
        studio = Studio()
        await studio.started()
        studio.containers.answers[StreamCall.STOP] = reply
        (got,) = (await studio.ask("stop")).messages
        assert got.status == 200
        assert json.loads(got.body)["status"] == "success"
        assert studio.active == studio.table.letting_go(KEY) == (not confirmed)
        await asyncio.sleep(MODEL.inference.timeout_s)
        assert studio.active == 0

    run()


@virtual_time
async def test_a_container_without_a_stop_keeps_the_slot_until_it_is_free() -> None:
    """ai-runner ends a stream once its input has (container.md 3.3); a start before that would replace it."""
    model = replace(MODEL, stream=StreamSpec(post_starts_stream=True, route_prefix=None))
    studio = Studio(model=model)
    await studio.started(via=LIVE)
    await asyncio.sleep(5)
    before = now()
    assert status_of(await studio.ask("stop", via=LIVE)) == 200
    assert studio.told_node == [], "the node would cut the answer"
    await asyncio.sleep(ANSWER_S)
    assert studio.told_node == ["s1"], "its input is the node's to end"
    assert studio.containers.calls == [StreamCall.START]
    studio.keeper.probed(runner_of(KEY), model, ProbeWord.READY, before - 1)
    assert studio.active == 1, "that was before the stop"
    assert code_of(await studio.ask("start", "s2", via=LIVE)) is Code.CAPACITY_EXHAUSTED
    assert status_of(await studio.ask("stop", via=LIVE)) == 200
    await asyncio.sleep(1)
    studio.keeper.probed(runner_of(KEY), model, ProbeWord.BUSY, before + 0.5)
    assert studio.active == 1
    studio.keeper.probed(runner_of(KEY), model, ProbeWord.READY, before + 1)
    assert studio.active == 0
    await studio.settle()
    assert studio.told_node == ["s1"]


@virtual_time
async def test_an_update_of_what_does_not_run_is_404() -> None:
    studio = Studio()
    assert code_of(await studio.ask("params")) is Code.STREAM_UNKNOWN
    assert code_of(await studio.ask("update", "", via=DIRECT)) is Code.STREAM_UNKNOWN
    await studio.started()
    assert code_of(await studio.ask("params", "other")) is Code.STREAM_UNKNOWN
    await studio.ask("stop")
    assert code_of(await studio.ask("params")) is Code.STREAM_UNKNOWN
    assert studio.containers.calls == [StreamCall.START, StreamCall.STOP]


@virtual_time
async def test_without_a_name_the_only_stream_is_meant_and_two_need_one() -> None:
    studio = Studio(model=replace(MODEL, max_sessions=2))
    await studio.started("a")
    assert status_of(await studio.ask("params", "", via=DIRECT)) == 200
    await studio.started("b")
    for call in ("params", "stop"):
        assert code_of(await studio.ask(call, "", via=DIRECT)) is Code.BAD_REQUEST
    await studio.ask("stop", "a")
    assert status_of(await studio.ask("stop", "", via=DIRECT)) == 200
    assert [headers.get("X-Stream-Id") for _, _, headers, _ in studio.containers.asked] == ["a", "a", "b", "a", "b"]
    assert studio.active == 0


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_without_a_body_has_no_length_and_the_connection_goes_on(status: int) -> None:
    """RFC 9110, section 8.6: a 204 has none; that of a 304 would be the length of another answer."""

    @virtual_time
    async def run() -> None:
        studio = Studio()
        await studio.started()
        studio.containers.answers[StreamCall.UPDATE] = Reply(status, (), b"")
        one = request(("X-Stream-Id", "s1"), target=f"{DIRECT}/stream/params", body=b"{}")
        caller = await studio.serve(one + one)
        assert [message.status for message in caller.messages] == [status, status]
        assert b"content-length" not in bytes(caller.sent).lower()

    run()


@virtual_time
async def test_a_status_without_a_stream_is_ours() -> None:
    studio = Studio()

    async def said(name: str) -> Any:
        return json.loads((await studio.ask("status", name, body=b"", via=DIRECT)).messages[0].body)

    assert await said("") == {"status": "IDLE", "active_streams": 0}
    await studio.started()
    assert await said("other") == {"status": "OK", "active_streams": 1}
    assert await said("") == await said("s1") == {"status": "success"}, "the container's own word"


@virtual_time
async def test_a_stop_is_heard_by_the_runner_that_began_though_the_model_is_replaced_or_has_left_the_file() -> None:
    studio = Studio(model=replace(MODEL, max_sessions=2))
    await studio.started("old")
    studio.table.close(runner_of(KEY), Code.DRAINING, "it is replaced")
    assert code_of(await studio.ask("start", "new")) is Code.DRAINING
    studio.table.open(runner_of(KEY, 1), ADDRESS._replace(port=9001), None)
    await studio.started("new")
    assert code_of(await studio.ask("start", "more")) is Code.CAPACITY_EXHAUSTED
    await studio.ask("params", "old")
    await studio.ask("stop", "new")
    studio.table.forget(KEY)
    await studio.ask("stop", "old")
    assert [(call, address.port) for call, address, _, _ in studio.containers.asked] == [
        (StreamCall.START, 9000),
        (StreamCall.START, 9001),
        (StreamCall.UPDATE, 9000),
        (StreamCall.STOP, 9001),
        (StreamCall.STOP, 9000),
    ]
    assert studio.active == 0


@virtual_time
async def test_a_runner_that_dies_ends_its_streams_and_asks_it_nothing_more() -> None:
    studio = Studio(model=replace(MODEL, max_sessions=2))
    await studio.started("dead")
    studio.table.close(runner_of(KEY), Code.NOT_READY, "it has died")
    studio.table.open(runner_of(KEY, 1), ADDRESS, None)
    await studio.started("alive")
    studio.table.abort(runner_of(KEY), "it has died")
    studio.table.gone(runner_of(KEY))
    await studio.idle()
    assert studio.active == 1
    assert [stream.id for stream in studio.keeper.streams] == ["alive"]
    assert studio.containers.calls == [StreamCall.START, StreamCall.START]
    assert studio.settled() == studio.outcomes == ["aborted"]


# Bodies.


@virtual_time
async def test_a_body_of_many_mib_is_taken_whole_and_a_longer_one_is_413() -> None:
    studio = Studio()
    body = json.dumps({"params": "x" * (10 * MIB)}).encode()
    caller = studio.caller()
    caller.say(asked("start", body=body))
    await studio.idle()
    assert status_of(caller) == 200
    assert studio.containers.asked[0][3] == body
    for size in (16 * MIB + 1, 20 * MIB):
        caller = studio.caller(asked("params", body=b"x" * size))
        await studio.idle()
        assert code_of(caller) is Code.BODY_TOO_LARGE
        assert "at most 16 MiB" in json.loads(caller.messages[0].body)["message"]
    assert studio.stream().phase is StreamPhase.RUNNING


@virtual_time
async def test_chunks_that_come_slowly_are_one_body_and_too_many_are_413() -> None:
    studio = Studio(model=replace(MODEL, inference=replace(MODEL.inference, max_body_mb=1)))
    whole = request(("X-Stream-Id", "s1"), target=f"{BYOC}/stream/start", chunks=[b'{"a":"', *[b"x" * 1000] * 5, b'"}'])
    caller = studio.caller()
    for at in range(0, len(whole), 700):
        caller.say(whole[at : at + 700])
        await asyncio.sleep(2)
    await studio.idle()
    assert status_of(caller) == 200
    assert studio.containers.asked[0][3] == b'{"a":"' + b"x" * 5000 + b'"}'
    many = request(("X-Stream-Id", "s1"), target=f"{BYOC}/stream/params", chunks=[b"x" * 1000] * 1100)
    assert code_of(await studio.serve(many)) is Code.BODY_TOO_LARGE


@virtual_time
async def test_a_body_that_never_ends_takes_no_slot_and_gives_up() -> None:
    studio = Studio()
    caller = studio.caller(asked("start", body=b"x" * 100)[:-50])
    await asyncio.sleep(3)
    assert studio.active == 0
    await studio.idle()
    assert code_of(caller) is Code.BODY_STALLED
    assert studio.containers.calls == []


@virtual_time
async def test_a_caller_who_waits_to_be_told_to_go_on_is_told_once_he_is_known() -> None:
    studio = Studio()
    caller = studio.caller(asked("start", headers={"Expect": "100-continue"})[:-2])
    await studio.settle()
    assert caller.sent == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert studio.hooks[0].identified
    caller.say(b"{}")
    await studio.idle()
    assert [message.status for message in caller.messages] == [100, 200]


# Accounts.


@virtual_time
async def test_a_stream_is_charged_for_from_its_start_to_its_end_and_not_its_requests() -> None:
    hook = Charging()
    studio = Studio(hooks=[hook])
    await studio.started()
    await asyncio.sleep(3.5)
    assert hook.charged == pytest.approx([1, 2, 3], abs=0.1)
    await studio.ask("params")
    await studio.ask("stop")
    charged = len(hook.charged)
    await asyncio.sleep(5)
    assert len(hook.charged) == charged
    assert studio.settled() == ["ok"]


@virtual_time
async def test_a_hook_that_will_not_go_on_ends_the_stream_and_its_container_is_told() -> None:
    hook = Charging()
    studio = Studio(hooks=[hook])
    await studio.started(via=LIVE)
    hook.fails["charge"] = JobRefused(Code.FORBIDDEN, "cannot go on: nothing is left")
    await asyncio.sleep(2)
    await studio.idle()
    assert studio.active == 0
    assert studio.containers.calls == [StreamCall.START, StreamCall.STOP]
    assert studio.told_node == ["s1"]
    assert studio.settled() == studio.outcomes == ["aborted"]


@virtual_time
async def test_a_session_that_is_ridden_on_has_one_account() -> None:
    hook = Charging()
    studio = Studio(hooks=[hook])
    for _ in range(3):
        assert status_of(await studio.serve(ridden())) == 200
        await asyncio.sleep(1)
    await studio.started(via=LIVE)
    await asyncio.sleep(2.5)
    assert hook.charged == pytest.approx([1, 2, 3, 4, 5], abs=0.2)
    await studio.ask("stop", via=LIVE)
    await studio.idle()
    assert studio.settled() == [], "the session goes on"
    studio.keeper.released(KEY, "s1")
    await studio.idle()
    assert studio.settled() == ["ok"]
    assert not studio.handler._accounts._streams


@virtual_time
async def test_a_session_is_not_settled_while_a_hook_is_asked_about_its_start() -> None:
    gate = asyncio.Event()

    class Stubborn(FakeHook):
        async def wait(self, call: str) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await gate.wait()
                raise

    studio = Studio(hooks=[Stubborn(waits={"admit"})])
    studio.keeper.reserved(KEY, "s1")
    caller = studio.caller(asked("start", via=LIVE))
    await studio.settle()
    studio.keeper.released(KEY, "s1")
    await studio.settle()
    assert studio.active == 0
    assert code_of(caller) is Code.DRAINING
    assert studio.settled() == []
    gate.set()
    await studio.settle()
    assert studio.settled() == ["ok"]


# What rides on a session of Live Runner's.


def ridden(
    name: str = "s1", *headers: tuple[str, str], target: str = "/v1/x", method: str = "POST", body: bytes = b"x"
) -> bytes:
    named = [("Livepeer-Session-Id", name)] if name else []
    return request(*named, *headers, target=f"{LIVE}{target}", method=method, body=body)


SOCKET = ridden("s1", ("Connection", "Upgrade"), ("Upgrade", "websocket"), target="/ws", method="GET", body=b"")


@virtual_time
async def test_requests_of_a_session_ride_on_its_slot() -> None:
    studio = Studio()
    studio.keeper.reserved(KEY, "s1")
    assert studio.active == 1
    for _ in range(3):
        assert status_of(await studio.serve(ridden())) == 200
    studio.network.reply = None
    callers = [studio.caller(ridden()) for _ in range(3)]
    await studio.settle()
    assert studio.active == 1
    for end in studio.network.ends[-3:]:
        end.say(answer())
    await studio.idle()
    assert [status_of(caller) for caller in callers] == [200] * 3
    assert studio.active == 1, "the session stays"
    assert studio.outcomes == ["ok"] * 6
    studio.keeper.released(KEY, "s1")
    await studio.idle()
    assert studio.active == 0
    assert studio.told_node == []


@virtual_time
async def test_a_request_that_is_faster_than_its_reservation_takes_the_slot_for_it() -> None:
    studio = Studio()
    assert status_of(await studio.serve(ridden())) == 200
    assert studio.active == 1
    studio.keeper.reserved(KEY, "s1")
    assert studio.active == 1
    assert code_of(await studio.serve(ridden("s2"))) is Code.CAPACITY_EXHAUSTED


@virtual_time
async def test_session_headers_reach_the_container_and_payment_does_not() -> None:
    studio = Studio()
    own = [("Livepeer-Runner-Route", "r"), ("Livepeer-Session-Token", "t"), ("livepeer-session-control", "http://c")]
    secret = [
        ("Livepeer-Payment", "p"),
        ("Livepeer-Segment", "s"),
        ("Authorization", "Bearer b"),
        ("Livepeer_Payment", "p"),
    ]
    await studio.serve(ridden("s1", *own, *secret, ("Accept-Encoding", "gzip")))
    (got,) = studio.network.requests
    assert [got.header(name) for name, _ in own] == ["r", "t", "http://c"]
    assert got.header("Livepeer-Session-Id") == "s1"
    assert got.header("Accept-Encoding") == "gzip"
    assert {got.header(name) for name, _ in secret} == {None}


@virtual_time
async def test_a_websocket_and_a_long_event_stream_ride_and_end_with_their_session() -> None:
    studio = Studio(model=replace(MODEL, max_sessions=1))
    studio.network.reply = None
    socket, events = studio.caller(SOCKET), studio.caller(ridden(target="/events"))
    await studio.network.connected(2)
    await studio.settle()
    studio.network.ends[0].say(SWITCHED + b"down")
    studio.network.ends[1].say(answer(chunks=[b"data: 1\n\n"])[:-5])
    socket.say(b"up")
    await studio.settle()
    assert socket.sent.endswith(b"down")
    assert studio.network.ends[0].sent.endswith(b"up")
    assert studio.active == 1
    await asyncio.sleep(5)
    studio.keeper.released(KEY, "s1")
    await studio.idle()
    assert (studio.active, studio.table.letting_go(KEY)) == (1, 1), "the requests may still be worked on"
    assert socket.lost
    assert events.socket.resets, "an answer that was cut does not look complete"
    await asyncio.sleep(MODEL.inference.timeout_s)
    assert studio.active == 0
    assert studio.outcomes == ["aborted", "aborted"]
    assert all(end.lost for end in studio.network.ends)


@virtual_time
async def test_a_runner_that_breaks_a_request_is_asked_for_its_health_and_the_session_stays() -> None:
    studio = Studio()
    studio.network.fails = ConnectionRefusedError(111, "refused")
    assert code_of(await studio.serve(ridden())) is Code.BACKEND_UNAVAILABLE
    assert studio.hurried == [runner_of(KEY)]
    assert studio.active == 1


@virtual_time
async def test_a_request_without_a_session_is_400_and_one_of_an_ending_session_is_404() -> None:
    studio = Studio()
    assert code_of(await studio.serve(ridden(""))) is Code.BAD_REQUEST
    await studio.started(via=LIVE)
    studio.containers.gates[StreamCall.STOP] = asyncio.Event()
    studio.keeper.released(KEY, "s1")
    await studio.settle()
    caller = studio.caller(ridden())
    await studio.settle()
    assert code_of(caller) is Code.STREAM_UNKNOWN
    studio.containers.gates[StreamCall.STOP].set()
    await studio.idle()


# The stream of a session, and the session.


@virtual_time
async def test_a_stop_ends_the_stream_and_its_session_goes_on_for_the_next_start() -> None:
    studio = Studio()
    studio.keeper.reserved(KEY, "s1")
    for _ in range(3):
        await studio.started(via=LIVE)
        assert studio.stored == {"s1"}
        assert status_of(await studio.ask("stop", via=LIVE)) == 200
        assert (studio.stream().phase, studio.active) == (StreamPhase.HELD, 1)
        assert studio.stored == set(), "there is nothing to find again"
        assert status_of(await studio.ask("stop", via=LIVE)) == 200, "once more"
        assert status_of(await studio.serve(ridden())) == 200
        await asyncio.sleep(10)
    assert studio.containers.calls == [StreamCall.START, StreamCall.STOP] * 3
    assert studio.told_node == []
    assert (studio.outcomes, studio.settled()) == (["ok"] * 3, []), "the requests that rode on it"
    studio.keeper.released(KEY, "s1")
    await studio.idle()
    assert (studio.active, studio.told_node, studio.settled()) == (0, [], ["ok"])


@virtual_time
async def test_a_request_rides_on_while_its_sessions_stream_is_being_stopped_and_a_start_waits_for_no_one() -> None:
    studio = Studio(model=replace(MODEL, max_sessions=1))
    await studio.started(via=LIVE)
    gate = studio.containers.gates[StreamCall.STOP] = asyncio.Event()
    stop = studio.caller(asked("stop", via=LIVE))
    await studio.settle()
    ride = studio.caller(ridden())
    await studio.network.connected(1)
    await studio.settle()
    assert status_of(ride) == 200
    start = studio.caller(asked("start", via=LIVE))
    await studio.settle()
    assert code_of(start) is Code.STREAM_RUNNING
    gate.set()
    await studio.idle()
    assert status_of(stop) == 200
    assert studio.stream().phase is StreamPhase.HELD


@virtual_time
async def test_what_ends_a_session_while_its_stream_is_being_stopped_is_not_forgotten() -> None:
    for released in (False, True):
        studio = Studio()
        await studio.started(via=LIVE)
        gate = studio.containers.gates[StreamCall.STOP] = asyncio.Event()
        stop = studio.caller(asked("stop", via=LIVE))
        await studio.settle()
        if released:
            studio.keeper.released(KEY, "s1")
        else:
            studio.keeper.end_soon(studio.stream(), Outcome.ABORTED, "a hook will not go on")
        gate.set()
        await studio.idle()
        assert status_of(stop) == 200
        await asyncio.sleep(ANSWER_S)
        assert (studio.active, studio.settled()) == (0, ["ok" if released else "aborted"])
        assert studio.told_node == ([] if released else ["s1"])


@virtual_time
async def test_a_start_that_was_stopped_before_it_was_admitted_never_takes_the_place_of_the_next_one() -> None:
    slow = asyncio.Event()

    class SlowAtFirst(FakeHook):
        async def wait(self, call: str) -> None:
            if len(self.admitted) == 1:
                await slow.wait()

    studio = Studio(hooks=[SlowAtFirst(waits={"admit"})])
    studio.keeper.reserved(KEY, "s1")
    first = studio.caller(asked("start", via=LIVE))
    await studio.settle()
    assert studio.stream().phase is StreamPhase.STARTING
    stop = studio.caller(asked("stop", via=LIVE))
    await studio.settle()
    assert (status_of(stop), studio.stream().phase) == (200, StreamPhase.HELD)
    second = studio.caller(asked("start", via=LIVE))
    await studio.settle()
    slow.set()
    await studio.idle()
    assert [status_of(first), status_of(second)] == [404, 200]
    assert studio.containers.calls == [StreamCall.START]
    assert studio.stream().phase is StreamPhase.RUNNING


@virtual_time
async def test_the_node_is_told_of_an_end_only_when_the_last_answer_has_had_time_to_pass() -> None:
    studio = Studio(model=replace(MODEL, max_sessions=2))
    studio.network.reply = None
    caller = studio.caller(ridden())
    await studio.network.connected(1)
    await studio.settle()
    studio.keeper.end_soon(studio.stream(), Outcome.ABORTED, "a hook will not go on")
    assert studio.told_node == []
    await studio.settle()
    assert code_of(caller) is Code.DRAINING, "the answer is out"
    again = studio.caller(ridden())
    await studio.settle()
    assert code_of(again) is Code.STREAM_UNKNOWN, "and nobody takes a slot for it any more"
    studio.keeper.listed(KEY, frozenset({"s1"}), now())
    await asyncio.sleep(ANSWER_S / 2)
    assert studio.told_node == []
    await asyncio.sleep(ANSWER_S)
    assert studio.told_node == ["s1"]
    await studio.idle()


class SlowToForget(FakeStreamStore):
    """Attributes:
    gate: a record is dropped once it is set.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()

    async def forget_stream(self, key: ModelKey, id: str) -> None:
        await self.gate.wait()
        await super().forget_stream(key, id)


@pytest.mark.parametrize("charges", [False, True])
def test_a_stream_is_settled_only_when_no_record_of_it_is_left(charges: bool) -> None:
    """The next orchd settles what it finds a record of: one that is killed in between must not have settled yet."""

    @virtual_time
    async def run() -> None:
        store = SlowToForget()
        studio = Studio(hooks=[Charging() if charges else FakeHook()], store=store)
        await studio.started()
        caller = studio.caller(asked("stop"))
        await studio.settle()
        assert status_of(caller) == 200
        assert (studio.active, studio.stored, studio.settled()) == (0, {"s1"}, [])
        store.gate.set()
        await studio.idle()
        assert (studio.stored, studio.settled()) == (set(), ["ok"])

    run()


# Sessions of a cold model.


def cold(**knobs: Any) -> Studio:
    studio = Studio(model=replace(MODEL, max_sessions=1), is_open=False, **knobs)
    studio.table.set_closed(KEY, startable=True, code=Code.NOT_READY, reason="it is cold")
    return studio


@virtual_time
async def test_requests_of_a_session_wait_together_for_their_cold_model() -> None:
    """Also where it has one slot: it is theirs."""
    for reserved in ("not", "listed", "paid"):
        studio = cold()
        if reserved == "listed":
            studio.keeper.listed(KEY, frozenset({"s1"}), now())
            assert studio.table.waiting(KEY) == 0, "it may not be paid for: nothing is started for it"
            assert studio.table.pending(KEY) == 1
        elif reserved == "paid":
            studio.keeper.reserved(KEY, "s1")
            assert studio.table.waiting(KEY) == 1
        callers = [studio.caller(ridden()) for _ in range(3)]
        await studio.settle()
        assert (studio.table.waiting(KEY), studio.table.pending(KEY)) == (1, 0)
        studio.keeper.listed(KEY, frozenset({"s1"}), now())
        callers[1].lose()
        await studio.settle()
        studio.table.open(runner_of(KEY), ADDRESS, None)
        await studio.idle()
        assert [status_of(callers[0]), status_of(callers[2])] == [200, 200]
        assert (studio.active, studio.stream().phase) == (1, StreamPhase.HELD)
        assert studio.told_node == []


@virtual_time
async def test_requests_of_a_session_that_ends_while_its_model_starts_are_404() -> None:
    studio = cold()
    caller = studio.caller(ridden())
    await studio.settle()
    studio.keeper.released(KEY, "s1")
    await studio.settle()
    assert code_of(caller) is Code.STREAM_UNKNOWN
    assert studio.table.waiting(KEY) == 0


@virtual_time
async def test_requests_of_a_session_whose_model_does_not_start_hear_why_and_then_the_node_is_told() -> None:
    studio = cold()
    caller = studio.caller(ridden())
    await studio.settle()
    studio.table.set_closed(KEY, startable=False, code=Code.NOT_READY, reason="it failed")
    await studio.settle()
    assert code_of(caller) is Code.NOT_READY
    assert studio.told_node == []
    await asyncio.sleep(ANSWER_S)
    assert studio.told_node == ["s1"]


@virtual_time
async def test_a_session_that_was_sold_twice_is_503_and_its_container_never_sees_it() -> None:
    studio = Studio(model=replace(MODEL, max_sessions=1))
    await studio.started("s1", via=BYOC)
    studio.keeper.reserved(KEY, "l1")
    early = await studio.serve(ridden("l2"))
    assert code_of(early) is Code.CAPACITY_EXHAUSTED
    assert studio.network.requests == []
    await asyncio.sleep(ANSWER_S)
    assert studio.told_node == ["l1"], "the node frees its slot, too"
    assert studio.active == 1


@virtual_time
async def test_without_sessions_each_request_of_live_runners_is_a_job() -> None:
    studio = Studio(model=replace(MODEL, persistent=False, max_sessions=1))
    assert status_of(await studio.serve(ridden())) == 200
    assert studio.active == 0
    assert studio.settled() == studio.outcomes == ["ok"]


@virtual_time
async def test_requests_with_the_same_head_ride_on_the_replica_of_their_session() -> None:
    studio = Studio(model=replace(MODEL, max_sessions=4))
    studio.table.open(runner_of(KEY, 1), ADDRESS._replace(port=9001), None)
    for name in ("a", "b", "a", "b", "a"):
        await studio.serve(ridden(name))
    ports = {name: studio.stream(name).session.address.port for name in ("a", "b")}
    assert set(ports.values()) == {9000, 9001}
    seen = {
        (end.messages[0].header("Livepeer-Session-Id"), port)
        for end, (_, port) in zip(studio.network.ends, studio.network.dialled, strict=True)
    }
    assert seen == set(ports.items())


# Event streams over BYOC.


def now() -> float:
    return asyncio.get_running_loop().time()


async def sse(studio: Bench, reply: bytes, *, ends: str = "", version: str = "1.1", via: str = BYOC) -> FakeTransport:
    studio.network.reply = reply
    caller = studio.caller(request(("Accept-Encoding", "gzip"), target=f"{via}/v1/chat", body=b"x", version=version))
    await studio.settle()
    if ends:
        studio.network.end.lose() if ends == "reset" else studio.network.end.finish()
    await studio.idle()
    return caller


EVENTS = ("Content-Type", "text/event-stream")
ONE_EVENT = b"data: 1\n\n"


def batch() -> Bench:
    return Bench(models=(a_model(KEY),))


@pytest.mark.parametrize("framing", ["length", "chunks", "close"])
@pytest.mark.parametrize("done", [False, True])
def test_an_event_stream_ends_with_done_however_it_is_framed(framing: str, done: bool) -> None:
    @virtual_time
    async def run() -> None:
        bench = batch()
        pieces = [ONE_EVENT, b"data: [DO", b"NE]\n\n"] if done else [b"data: ", b"1\n", b"\n"]
        if framing == "chunks":
            caller = await sse(bench, answer(b"", EVENTS, chunks=pieces))
        elif framing == "length":
            caller = await sse(bench, answer(b"".join(pieces), EVENTS))
        else:
            caller = await sse(
                bench, b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + b"".join(pieces), ends="eof"
            )
        (got,) = caller.messages
        assert got.body == ONE_EVENT + b"data: [DONE]\n\n"
        assert got.end is not None
        assert (got.header("Content-Length"), got.header("Transfer-Encoding")) == (None, "chunked")
        assert bench.network.requests[0].header("Accept-Encoding") is None, "the node must be able to read it"
        assert bench.outcomes == ["ok"]
        assert (await bench.serve(request(target=BYOC))).messages[0].status == 200

    run()


@pytest.mark.parametrize("ends", ["eof", "reset"])
@pytest.mark.parametrize("so_far", [b"", b"data: 1\n\n", b"data: 1\n\ndata: half a li", b"data: 1\n\ndata: [DONE]\n\n"])
@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_an_event_stream_that_breaks_off_says_so_before_it_ends(framing: str, so_far: bytes, ends: str) -> None:
    @virtual_time
    async def run() -> None:
        bench = batch()
        whole = (
            answer(so_far + b"x" * 50, EVENTS)
            if framing == "length"
            else answer(b"", EVENTS, chunks=[so_far, b"x" * 50])
        )
        if framing == "chunks" and not so_far:
            whole = answer(b"", EVENTS, chunks=[b"x" * 50])
        cut = whole.index(b"x" * 50) - (4 if framing == "chunks" else 0)
        (got,) = (await sse(bench, whole[:cut], ends=ends)).messages
        assert got.end is not None
        assert got.body.startswith(so_far)
        *_, event, data, gap, done, _, _ = got.body.split(b"\n")
        assert (event, gap, done) == (b"event: error", b"", b"data: [DONE]")
        assert json.loads(data.removeprefix(b"data: "))["error"].startswith("cannot finish the job: ")
        assert bench.outcomes == ["backend_failed"]

    run()


@virtual_time
async def test_an_event_stream_that_stalls_or_is_cut_says_so() -> None:
    for how in ("stalls", "cut"):
        bench = batch()
        bench.network.reply = answer(b"", EVENTS, chunks=[ONE_EVENT])[:-5]
        caller = bench.caller(request(target=BYOC))
        await bench.settle()
        if how == "cut":
            bench.table.abort(runner_of(KEY), "it is replaced")
        await bench.idle()
        (got,) = caller.messages
        assert got.end is not None
        assert b"event: error\n" in got.body
        assert got.body.endswith(b"data: [DONE]\n\n")
        assert bench.outcomes == ["timeout" if how == "stalls" else "aborted"]


@virtual_time
async def test_an_error_that_is_typed_as_an_event_stream_is_plain_text() -> None:
    bench = batch()
    (got,) = (await sse(bench, answer(b"data: no\n\n", EVENTS, status=503))).messages
    assert (got.status, got.header("Content-Type"), got.body) == (503, "text/plain", b"data: no\n\n")


@pytest.mark.parametrize("status", [301, 302, 307, 401])
def test_a_containers_401_or_redirect_is_502_and_frees_the_slot(status: int) -> None:
    @virtual_time
    async def run() -> None:
        bench = batch()
        caller = await sse(bench, answer(b"no", ("Location", "/x"), status=status))
        assert code_of(caller) is Code.BACKEND_UNUSABLE
        assert bench.table.active(KEY) == 0
        assert bench.hurried == [], "it answers, so it is alive"

    run()


@virtual_time
async def test_other_routes_pass_event_streams_as_they_are() -> None:
    bench = batch()
    (got,) = (await sse(bench, answer(ONE_EVENT, EVENTS), via="/models/live-video-to-video/tint")).messages
    assert (got.body, got.header("Content-Length")) == (ONE_EVENT, str(len(ONE_EVENT)))


@virtual_time
async def test_an_old_caller_gets_the_stream_as_it_is_and_a_connection_that_ends() -> None:
    bench = batch()
    (got,) = (await sse(bench, answer(ONE_EVENT, EVENTS), version="1.0")).messages
    assert (got.body, got.end is not None) == (ONE_EVENT, True)


@virtual_time
async def test_a_head_has_no_events_behind_it() -> None:
    bench = batch()
    bench.network.reply = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
    caller = bench.caller(request(target=BYOC, method="HEAD"))
    await bench.settle()
    assert caller.sent.endswith(b"\r\n\r\n")
    assert b"[DONE]" not in caller.sent


# The keeper's sweep, over a handler.


@virtual_time
async def test_a_container_that_falls_back_to_idle_has_lost_its_stream() -> None:
    """A start with dead media URLs is answered with 200 (container.md 2.2)."""
    studio = Studio()
    sweep = spawn(studio.keeper.run(), name="sweep")
    await studio.started()
    for word, active in ((ProbeWord.BUSY, 1), (ProbeWord.READY, 1), (ProbeWord.BUSY, 1), (ProbeWord.READY, 0)):
        for _ in range(2 if active else 4):
            await asyncio.sleep(5)
            studio.keeper.probed(runner_of(KEY), MODEL, word, now())
        await asyncio.sleep(2 * SWEEP_S)
        assert studio.active == active
    assert studio.containers.calls == [StreamCall.START], "it is free already"
    assert studio.outcomes == studio.settled() == ["ok"]
    await cancel(sweep)


def test_origins_are_what_the_store_keeps() -> None:
    assert {str(origin) for origin in Origin} == {"direct", "byoc", "live-runner", "sold", "found"}


@pytest.mark.parametrize("call", ["start", "stop", "params"])
def test_a_header_about_a_stream_given_twice_with_different_values_is_refused(call: str) -> None:
    """Else orchd would take the one, and the container another sender's stream."""

    @virtual_time
    async def run() -> None:
        studio = Studio()
        for name in ("X-Stream-Id", "Content-Type") if call == "start" else ("X-Stream-Id",):
            twice = request(
                ("X-Stream-Id", "s1"), (name, "one"), (name.lower(), "two"), target=f"{BYOC}/stream/{call}", body=b"{}"
            )
            assert code_of(await studio.serve(twice)) is Code.BAD_REQUEST
        assert studio.containers.asked == []
        same = request(("X-Stream-Id", "s1"), ("x-stream-id", "s1"), target=f"{BYOC}/stream/start", body=b"{}")
        assert status_of(await studio.serve(same)) == 200

    run()


# A request that comes before its stream was found again after a restart of orchd.


async def restarted(origin: Origin) -> Studio:
    """Return a studio whose stream an earlier orchd has left, on a runner that is not open yet."""
    store = FakeStreamStore()
    store.kept[KEY, "s1"] = StoredStream("s1", origin, runner_of(KEY), 5.0)
    studio = Studio(is_open=False, store=store)
    studio.table.set_closed(KEY, startable=True, code=Code.NOT_READY, reason="it is looked at")
    await studio.keeper.restore()
    return studio


@pytest.mark.parametrize(
    ("call", "told", "asked_of_container", "phase"),
    [
        ("start", Code.STREAM_RUNNING, [], StreamPhase.RUNNING),
        ("stop", 200, [StreamCall.STOP], StreamPhase.HELD),
        ("params", 200, [StreamCall.UPDATE], StreamPhase.RUNNING),
        ("status", 200, [StreamCall.STATUS], StreamPhase.RUNNING),
    ],
)
def test_what_is_asked_in_a_session_waits_until_its_stream_is_found_again(
    call: str, told: Code | int, asked_of_container: list[StreamCall], phase: StreamPhase
) -> None:
    @virtual_time
    async def run() -> None:
        studio = await restarted(Origin.LIVE_RUNNER)
        caller = studio.caller(asked(call, via=LIVE))
        await asyncio.sleep(3)
        assert (studio.containers.calls, caller.messages) == ([], [])
        studio.table.open(runner_of(KEY), ADDRESS, None)
        await studio.idle()
        assert (code_of(caller) if isinstance(told, Code) else status_of(caller)) == told
        assert studio.containers.calls == asked_of_container
        assert (studio.stream().phase, studio.active) == (phase, 1)

    run()


@virtual_time
async def test_so_does_what_rides_on_it_no_longer_than_for_a_cold_model() -> None:
    studio = await restarted(Origin.LIVE_RUNNER)
    caller = studio.caller(request(("Livepeer-Session-Id", "s1"), target=f"{LIVE}/x"))
    await asyncio.sleep(21)
    await studio.settle()
    assert code_of(caller) is Code.HOLD_TIMEOUT
    studio.table.open(runner_of(KEY), ADDRESS, None)
    await studio.settle()
    assert (studio.stream().phase, studio.active) == (StreamPhase.RUNNING, 1), "it is found all the same"
