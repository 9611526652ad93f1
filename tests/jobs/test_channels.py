"""Streams of Live Runner's clients who bring no media: the node makes channels, and they go when the stream does."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import structlog

from orchd.domain.model import Secret
from orchd.domain.origins import Origin
from orchd.domain.outcomes import Outcome
from orchd.domain.phases import StreamPhase
from orchd.domain.stores import StoredStream
from orchd.errors import Code
from orchd.node.ports import NodeAnswer, NodeError
from orchd.realtime.channels import MIME_TYPES
from orchd.realtime.container import ContainerSilent, Reply
from orchd.realtime.routes import StreamCall
from tests.fakes.stored import FakeStreamStore
from tests.jobs.model import ADDRESS, runner_of
from tests.jobs.test_realtime import BYOC, DIRECT, KEY, LIVE, MODEL, Studio, asked, code_of, status_of
from tests.realtime.test_channels import made
from tests.relay.transport import FakeTransport
from tests.virtual_time import virtual_time

TOKEN = "the-sessions-own-token"
OURS = {
    "Livepeer-Runner-Route": "orchd-a/b",
    "Livepeer-Session-Token": TOKEN,
    "Livepeer-Session-Control": "http://somebody.else/runner/r1/session/s9",
}
PATH = "/runner/orchd-a%2Fb/session/s1/channels"
JSON = "application/json"


class FakeNode:
    """`NodeCalls` that answers about channels. Attributes:
    asked: method, path and body of each call.
    answers: by method, one after the other; what the node answers usually where none is left. An error is raised.
    gate: a call waits for it.
    heads: segments of each channel that there is; None = the node does not answer.
    instead: what it answers in place of them; None = them.
    """

    secret: Secret | None = None

    def __init__(self) -> None:
        self.asked: list[tuple[str, str, Any]] = []
        self.answers: dict[str, list[tuple[int, object] | NodeError]] = {}
        self.gate: asyncio.Event | None = None
        self.heads: dict[str, int] | None = {"in": 0, "control": 0}
        self.instead: tuple[int, str] | None = None

    async def service(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] = {},
        body: bytes | None = None,
        authorization: Secret | None = None,
    ) -> NodeAnswer:
        if method == "GET":
            return await self._head(path)
        assert headers["Livepeer-Session-Token"] == TOKEN
        self.asked.append((method, path, json.loads(body or b"")))
        if self.gate is not None:
            await self.gate.wait()
        usual: tuple[int, object] = (200, made() if method == "POST" else {"deleted": []})
        answers = self.answers.get(method)
        said = answers.pop(0) if answers else usual
        if isinstance(said, NodeError):
            raise said
        return NodeAnswer(said[0], json.dumps(said[1]).encode(), JSON)

    async def _head(self, path: str) -> NodeAnswer:
        if self.heads is None:
            raise NodeError("cannot reach the node")
        name = path.removeprefix("/ai/trickle/channel_").removesuffix("/next")
        there = (200, str(self.heads[name])) if name in self.heads else (404, "Stream not found")
        status, text = self.instead or there
        return NodeAnswer(status, f"{text}\n".encode(), "text/plain")

    async def cli(self, *_: Any, **__: Any) -> NodeAnswer:
        raise NotImplementedError

    def stream(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError

    async def fingerprint(self) -> str | None:
        raise NotImplementedError

    @property
    def methods(self) -> list[str]:
        return [method for method, *_ in self.asked]


class Stage(Studio):
    """A studio beside a node."""

    def __init__(self, **options: Any) -> None:
        self.node = FakeNode()
        super().__init__(node=self.node, **options)

    async def start(self, body: bytes = b"{}", via: str = LIVE, without: str = "") -> FakeTransport:
        headers = {name: value for name, value in OURS.items() if name != without}
        return await self.ask("start", body=body, via=via, headers=headers)

    async def stop(self, via: str = LIVE) -> FakeTransport:
        return await self.ask("stop", via=via, headers=OURS)

    def note_order(self) -> list[str]:
        """Return a list that fills with what is asked of node and container, in order."""
        order: list[str] = []
        ask_node, ask_container = self.node.service, self.containers.call

        async def service(method: str, path: str, **rest: Any) -> NodeAnswer:
            order.append(f"{method} channels")
            return await ask_node(method, path, **rest)

        async def call(model: Any, address: Any, what: StreamCall, **rest: Any) -> Reply | None:
            order.append(str(what))
            return await ask_container(model, address, what, **rest)

        self.node.service = service  # type: ignore[method-assign]
        self.containers.call = call  # type: ignore[method-assign, assignment]
        return order


def removed(stage: Stage) -> list[Any]:
    return [body["channels"] for method, _, body in stage.node.asked if method == "DELETE"]


@virtual_time
async def test_a_start_without_media_gets_channels_and_its_stop_removes_them_behind_the_container() -> None:
    stage = Stage()
    order = stage.note_order()
    caller = await stage.start(b'{"params": {"width": 64}}')
    told = json.loads(caller.messages[0].body)
    assert (status_of(caller), caller.messages[0].header("Content-Type")) == (200, JSON)
    assert set(told) == {"manifest_id", "publish_url", "subscribe_url", "control_url", "events_url", "data_url"}
    assert told["manifest_id"] == "s1"
    assert told["publish_url"] == "https://node.example/ai/trickle/channel_in"
    _, _, _, body = stage.containers.asked[0]
    said = json.loads(body)
    assert said["params"] == {"width": 64}
    assert (said["gateway_request_id"], said["subscribe_url"]) == ("s1", "http://10.0.0.1:8935/ai/trickle/channel_in")
    assert stage.node.asked[0][1] == PATH, "the session is the node's own, at the node's own address"
    assert (stage.stream().phase, stage.stream().origin, stage.active) == (StreamPhase.RUNNING, "live-runner", 1)
    assert status_of(await stage.stop()) == 200
    assert order == ["POST channels", "start", "stop", "DELETE channels"]
    assert removed(stage) == [list(MIME_TYPES)]
    assert (stage.stream().phase, stage.active) == (StreamPhase.HELD, 1), "the session is the client's to end"


@virtual_time
async def test_each_stream_of_a_session_has_channels_of_its_own_and_the_session_has_one_slot() -> None:
    stage = Stage()
    order = stage.note_order()
    for _ in range(2):
        assert status_of(await stage.start()) == 200
        assert (stage.stream().phase, stage.active) == (StreamPhase.RUNNING, 1)
        assert status_of(await stage.stop()) == 200
        assert (stage.stream().phase, stage.active) == (StreamPhase.HELD, 1)
    assert order == ["POST channels", "start", "stop", "DELETE channels"] * 2
    stage.keeper.released(KEY, "s1")
    await stage.idle()
    assert (stage.active, removed(stage)) == (0, [list(MIME_TYPES)] * 2)


@pytest.mark.parametrize("via", [BYOC, DIRECT])
def test_who_comes_another_way_gets_none_whatever_headers_he_sends(via: str) -> None:
    @virtual_time
    async def run() -> None:
        stage = Stage()
        assert status_of(await stage.start(via=via)) == 200
        await stage.stop(via=via)
        assert stage.node.asked == []
        assert stage.containers.asked[0][3] == b"{}"

    run()


@pytest.mark.parametrize("missing", ["Livepeer-Runner-Route", "Livepeer-Session-Token"])
def test_without_the_nodes_words_on_the_session_a_start_goes_on_as_it_is(missing: str) -> None:
    @virtual_time
    async def run() -> None:
        stage = Stage()
        assert status_of(await stage.start(without=missing)) == 200
        assert stage.node.asked == []

    run()


@virtual_time
async def test_a_start_with_media_of_its_own_stays_as_it_is() -> None:
    stage = Stage()
    body = b'{"subscribe_url": "http://there/in"}'
    caller = await stage.start(body)
    assert (status_of(caller), caller.messages[0].body) == (200, b'{"status":"success"}')
    assert stage.containers.asked[0][3] == body
    await stage.stop()
    assert stage.node.asked == []


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ((403, {"error": "invalid session token at http://10.0.0.1:8935"}), "it answered 403"),
        ((503, {"error": "too many channels"}), "it answered 503"),
        ((200, {"channels": []}), "it gave no URL of in, out, control, events, data"),
        (NodeError("cannot reach the node at http://10.0.0.1:8935"), "it gave no answer that can be read"),
    ],
)
def test_without_channels_the_container_is_not_asked_and_the_session_can_try_again(
    said: tuple[int, object] | NodeError, shown: str
) -> None:
    @virtual_time
    async def run() -> None:
        stage = Stage()
        stage.node.answers["POST"] = [said]
        caller = await stage.start()
        assert (status_of(caller), code_of(caller)) == (503, Code.CHANNELS_UNAVAILABLE)
        (message,) = caller.messages
        assert shown in message.body.decode()
        assert "10.0.0.1" not in message.body.decode(), "an inner address is no client's business"
        assert stage.containers.calls == []
        assert (stage.stream().phase, stage.active, stage.stored) == (StreamPhase.HELD, 1, set())
        assert removed(stage) == [list(MIME_TYPES)], "it may have made some"
        assert status_of(await stage.start()) == 200
        assert stage.stream().phase is StreamPhase.RUNNING

    run()


@virtual_time
async def test_a_container_that_refuses_leaves_no_channel_and_its_words_pass() -> None:
    stage = Stage()
    stage.containers.answers[StreamCall.START] = Reply(503, (), b"busy")
    order = stage.note_order()
    caller = await stage.start()
    assert (status_of(caller), caller.messages[0].body) == (503, b"busy")
    assert order == ["POST channels", "start", "DELETE channels"]
    assert (stage.stream().phase, stage.active) == (StreamPhase.HELD, 1)


@pytest.mark.parametrize("said", [None, ContainerSilent("gave no answer")])
def test_a_start_that_does_not_succeed_leaves_neither_stream_nor_channel(said: ContainerSilent | None) -> None:
    @virtual_time
    async def run() -> None:
        stage = Stage()
        stage.containers.answers[StreamCall.START] = said
        assert status_of(await stage.start()) == 502
        await stage.idle()
        assert removed(stage) == [list(MIME_TYPES)]
        assert (stage.stream().phase, stage.active, stage.stored) == (StreamPhase.HELD, 1, set())

    run()


@virtual_time
async def test_a_client_that_leaves_while_the_channels_are_made_leaves_nothing_behind() -> None:
    stage = Stage()
    order = stage.note_order()
    stage.node.gate = asyncio.Event()
    caller = stage.caller(asked("start", via=LIVE, headers=OURS))
    await stage.settle()
    caller.vanish()
    await stage.settle()
    stage.node.gate.set()
    await stage.idle()
    assert order == ["POST channels", "start", "stop", "DELETE channels"]
    assert (stage.stream().phase, stage.active) == (StreamPhase.HELD, 1), "the session is the client's to end"


@virtual_time
async def test_a_stop_that_overtakes_the_start_waits_for_it_and_leaves_nothing_behind() -> None:
    stage = Stage()
    order = stage.note_order()
    stage.node.gate = asyncio.Event()
    starting = stage.caller(asked("start", via=LIVE, headers=OURS))
    await stage.settle()
    stopping = stage.caller(asked("stop", via=LIVE, headers=OURS))
    await stage.settle()
    stage.node.gate.set()
    await stage.idle()
    assert (status_of(stopping), code_of(starting)) == (200, Code.STREAM_UNKNOWN)
    assert order == ["POST channels", "start", "stop", "DELETE channels"]
    assert (stage.stream().phase, stage.active) == (StreamPhase.HELD, 1), "the session is the client's to end"


@virtual_time
async def test_a_stop_that_the_container_does_not_answer_removes_the_channels_too() -> None:
    stage = Stage()
    await stage.start()
    stage.containers.answers[StreamCall.STOP] = ContainerSilent("gave no answer")
    assert status_of(await stage.stop()) == 200
    assert removed(stage) == [list(MIME_TYPES)]


@virtual_time
async def test_a_container_that_has_no_stop_is_ended_by_the_end_of_its_channels() -> None:
    """ai-runner's ends when its input does."""
    stage = Stage(model=replace(MODEL, stream=replace(MODEL.stream, route_prefix=None)))
    await stage.start()
    await stage.stop()
    assert removed(stage) == [list(MIME_TYPES)]
    assert stage.stream().phase is StreamPhase.ENDING


@virtual_time
async def test_a_session_that_the_node_has_ended_has_no_channels_to_remove() -> None:
    stage = Stage()
    await stage.start()
    stage.keeper.released(KEY, "s1")
    await stage.idle()
    assert stage.containers.calls == [StreamCall.START, StreamCall.STOP]
    assert removed(stage) == []
    assert stage.active == 0


@virtual_time
async def test_an_end_of_orchds_own_removes_them_as_a_stop_does() -> None:
    stage = Stage()
    await stage.start()
    await stage.keeper.end(stage.stream(), Outcome.ABORTED, "a hook refused")
    await stage.idle()
    assert removed(stage) == [list(MIME_TYPES)]


@virtual_time
async def test_where_the_node_stops_at_a_name_it_does_not_know_each_is_removed_by_itself() -> None:
    """go-livepeer does."""
    stage = Stage()
    await stage.start()
    stage.node.answers["DELETE"] = [(404, "trickle channel not found")] * 2
    await stage.stop()
    assert removed(stage) == [list(MIME_TYPES), *([name] for name in MIME_TYPES)]


@virtual_time
async def test_a_stream_that_was_found_again_has_its_channels_removed_by_the_stop() -> None:
    store = FakeStreamStore()
    await store.save_stream(StoredStream("s1", Origin.LIVE_RUNNER, runner_of(KEY), 0.0))
    stage = Stage(store=store, is_open=False)
    await stage.keeper.restore()
    stage.table.open(runner_of(KEY), ADDRESS, None)
    await stage.settle()
    assert stage.stream().found
    assert status_of(await stage.stop()) == 200
    assert stage.containers.calls == [StreamCall.STOP]
    assert removed(stage) == [list(MIME_TYPES)]


@virtual_time
async def test_sessions_that_end_with_each_request_can_not_carry_a_stream() -> None:
    stage = Stage(model=replace(MODEL, persistent=False))
    caller = await stage.start()
    assert (code_of(caller), stage.active, stage.node.asked) == (Code.BAD_REQUEST, 0, [])
    (message,) = caller.messages
    assert "single-shot" in message.body.decode()


@virtual_time
async def test_neither_token_nor_channel_is_logged_or_shown() -> None:
    with structlog.testing.capture_logs() as logs:
        stage = Stage()
        stage.node.answers["POST"] = [(403, {"error": f"bad {TOKEN}"})]
        await stage.start()
        await stage.start()
        shown = repr(stage.stream()) + repr(stage.stream().channels)
        await stage.stop()
    assert any(line["event"] == "channels_not_made" for line in logs)
    for text in (repr(logs), shown):
        assert TOKEN not in text
        assert "/ai/trickle/" not in text
