"""Answers begin while the node waits for them: by an early head, or by a refusal that says why. Time is virtual."""

from __future__ import annotations

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.domain.ids import ModelKey
from orchd.domain.model import InferenceSpec, StreamSpec
from orchd.domain.offer import NodeProgram
from orchd.doors.routes import Beside
from orchd.errors import Code
from orchd.http1.rules import RequestHead
from orchd.jobs.early import accepted, can_be_early
from orchd.realtime.routes import StreamCall
from tests.fakes.streams import FakeContainers
from tests.jobs.fakes import Bench
from tests.jobs.messages import ONE, answer, refused, request
from tests.jobs.model import ADDRESS, KEY, a_model, runner_of
from tests.relay.transport import FakeTransport
from tests.virtual_time import virtual_time

LIVE = f"/live/{KEY.slug}/s3cret/x"
NODE, GO = Beside(NodeProgram.LIVEPEER_NODE), Beside(NodeProgram.GO_LIVEPEER)
SLOW = InferenceSpec("/image", timeout_s=300.0)
EARLY = InferenceSpec("/image", timeout_s=300.0, early_head_s=50.0)


async def asked(
    *headers: tuple[str, str], inference: InferenceSpec = EARLY, beside: Beside = NODE, **of_request: object
) -> tuple[Bench, FakeTransport]:
    """Return a bench whose runner has the job and does not answer, and its caller."""
    bench = Bench(models=(a_model(inference=inference),))
    bench.server.use_node(beside)
    bench.network.reply = None
    defaults = {"target": LIVE, "body": b"x"}
    caller = bench.caller(request(*headers, **(defaults | of_request)))  # type: ignore[arg-type]
    await bench.settle()
    await bench.network.connected()
    return bench, caller


async def answered_at(caller: FakeTransport, most: float = 400.0) -> float:
    """Return after how many seconds the caller got its first byte."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while not caller.sent and loop.time() - began < most:  # noqa: ASYNC110 - time is virtual
        await asyncio.sleep(0.05)
    return loop.time() - began


@virtual_time
async def test_beside_livepeer_node_a_late_runner_is_504_before_the_node_gives_up() -> None:
    bench, caller = await asked(inference=SLOW)
    assert 54.9 <= await answered_at(caller) < 56
    (got,) = caller.messages
    assert (got.status, refused(got)) == (504, Code.BACKEND_TIMEOUT)
    assert "gave no answer for 55 s, and Livepeer Node waits 60 s at most" in json.loads(got.body)["message"]
    assert "inference.early_head_s" in json.loads(got.body)["message"]
    await bench.idle()
    assert (bench.outcomes, bench.codes) == (["timeout"], ["backend_timeout"])
    assert bench.table.active(KEY) == 1, "the runner may work on: its slot is letting go"


@pytest.mark.parametrize(
    ("beside", "target"), [(GO, LIVE), (Beside(), LIVE), (NODE, f"{ONE}/x"), (NODE, f"/byoc/{KEY.slug}")]
)
@virtual_time
async def test_elsewhere_a_runner_has_the_time_that_its_entry_gives(beside: Beside, target: str) -> None:
    _, caller = await asked(inference=SLOW, beside=beside, target=target)
    assert 299.9 <= await answered_at(caller) < 301
    assert "gave no answer for 300 s" in json.loads(caller.messages[0].body)["message"]


@virtual_time
async def test_an_entrys_own_shorter_timeout_counts_as_ever() -> None:
    _, caller = await asked(inference=InferenceSpec("/image", timeout_s=5.0, early_head_s=50.0))
    assert 4.9 <= await answered_at(caller) < 6
    assert json.loads(caller.messages[0].body)["message"].endswith("gave no answer for 5 s")


@virtual_time
async def test_the_wait_for_a_cold_model_counts_too() -> None:
    bench = Bench(models=(a_model(inference=SLOW, max_sessions=3),), is_open=False, hold_timeout_s=240)
    bench.server.use_node(NODE)
    bench.network.reply = None
    bench.cold()
    late, direct = bench.caller(request(target=LIVE)), bench.caller(request(target=f"{ONE}/x"))
    await asyncio.sleep(30)
    held = bench.caller(request(target=LIVE))
    assert 24.9 <= await answered_at(late) < 26
    (got,) = late.messages
    assert (got.status, refused(got)) == (503, Code.HOLD_TIMEOUT)
    assert "it was not ready within 55 s: " in json.loads(got.body)["message"]
    bench.open()
    assert 29.9 <= await answered_at(held) < 31
    assert refused(held.messages[0]) is Code.BACKEND_TIMEOUT
    assert not direct.sent


@virtual_time
async def test_the_time_in_which_the_body_comes_does_not_count() -> None:
    """The node's own clock begins when it has sent all of it."""
    bench, caller = await asked(inference=SLOW, body=b"", chunks=[b"a"])
    assert 54.9 <= await answered_at(caller) < 56
    bench = Bench(models=(a_model(inference=SLOW),), between_bytes_timeout_s=50, min_body_rate=0)
    bench.server.use_node(NODE)
    bench.network.reply = None
    head = request(target=LIVE, body=b"abc")
    caller = bench.caller(head[:-2])
    await asyncio.sleep(40)
    caller.say(head[-2:-1])
    await asyncio.sleep(40)
    caller.say(head[-1:])
    assert 54.9 <= await answered_at(caller) < 56


@virtual_time
async def test_an_early_head_goes_out_when_the_runner_has_had_the_job_that_long() -> None:
    bench, caller = await asked(("Accept-Encoding", "gzip"), ("X-A", "1"))
    assert bench.network.requests[0].header("Accept-Encoding") is None, "a head can't say later that it is encoded"
    assert bench.network.requests[0].header("X-A") == "1"
    assert 49.9 <= await answered_at(caller) < 51
    (head,) = caller.messages
    assert (head.status, head.end, head.body) == (200, None, b"")
    assert (head.header("Transfer-Encoding"), head.header("Content-Length")) == ("chunked", None)
    assert head.header("Livepeer-Request-Id")
    await asyncio.sleep(100)
    bench.network.end.say(b"HTTP/1.1 103 Early Hints\r\n\r\n".replace(b"\\r\\n", b"\r\n"))
    bench.network.end.say(answer(b"y" * 300_000, ("Content-Type", "image/png"), status=201))
    await bench.idle()
    (got,) = caller.messages
    assert (got.status, got.body, got.end is not None) == (200, b"y" * 300_000, True)
    assert bench.outcomes == ["ok"]
    assert bench.metrics.statuses == [201]
    assert not caller.lost, "the connection goes on"
    assert bench.table.active(KEY) == 0
    bench.network.reply = answer()
    caller.say(request(target=LIVE, body=b"x"))
    await bench.idle()
    assert caller.messages[1].body == b"answer"


@virtual_time
async def test_a_runner_that_is_in_time_answers_for_itself() -> None:
    bench, caller = await asked(("Accept", "text/event-stream"))
    await asyncio.sleep(49)
    bench.network.end.say(answer(b"no", ("Content-Type", "text/plain"), status=422))
    await bench.idle()
    assert [(got.status, got.body, got.header("Content-Type")) for got in caller.messages] == [
        (422, b"no", "text/plain")
    ]
    await asyncio.sleep(100)
    assert len(caller.messages) == 1


@virtual_time
async def test_a_cold_start_brings_the_early_head_forward() -> None:
    bench = Bench(models=(a_model(inference=EARLY),), is_open=False, hold_timeout_s=240)
    bench.server.use_node(NODE)
    bench.network.reply = None
    bench.cold()
    caller = bench.caller(request(target=LIVE))
    await asyncio.sleep(30)
    bench.open()
    assert 24.9 <= await answered_at(caller) < 26
    assert caller.messages[0].status == 200


LATE = [
    (answer(b"no", status=500), "backend_broke", "backend_failed"),
    (answer(b"no", status=404), "backend_unusable", "refused"),
    (answer(b"", ("Location", "/x"), status=302), "backend_unusable", "refused"),
    (answer(b"x", ("Content-Range", "bytes 0-0/2"), status=206), "backend_unusable", "refused"),
    (answer(b"\x1f\x8b", ("Content-Encoding", "gzip")), "backend_unusable", "refused"),
    (answer(b"x" * 100)[:-60], "backend_stalled", "timeout"),
    (b"", "backend_timeout", "timeout"),
]


@pytest.mark.parametrize(("late", "code", "outcome"), LATE)
@virtual_time
async def test_what_can_not_follow_an_early_head_breaks_it_off(late: bytes, code: str, outcome: str) -> None:
    bench, caller = await asked()
    await answered_at(caller)
    bench.network.end.say(late)
    await bench.idle()
    assert caller.lost
    assert caller.socket.resets
    assert not caller.messages[0].end, "it must not look whole"
    assert (bench.codes, bench.outcomes) == ([code], [outcome])


@pytest.mark.parametrize(("late", "code", "outcome"), LATE)
@virtual_time
async def test_who_asks_for_events_is_told_of_it_by_an_event(late: bytes, code: str, outcome: str) -> None:
    bench, caller = await asked(("Accept", "text/event-stream"))
    await answered_at(caller)
    assert caller.messages[0].header("Content-Type") == "text/event-stream"
    bench.network.end.say(late)
    await bench.idle()
    (got,) = caller.messages
    assert got.end is not None
    said = got.body.decode().rpartition("event: error\ndata: ")[2]
    assert json.loads(said)["error"].startswith("cannot ")
    assert said.endswith("}\n\n"), "Live Runner needs no [DONE]"
    assert (bench.codes, bench.outcomes) == ([code], [outcome])


@virtual_time
async def test_events_after_an_early_head_pass_as_they_are() -> None:
    bench, caller = await asked(("Accept", "text/event-stream"))
    await answered_at(caller)
    bench.network.end.say(answer(chunks=[b"data: 1\n\n", b"data: 2"]))
    await bench.idle()
    assert caller.messages[0].body == b"data: 1\n\ndata: 2"


@pytest.mark.parametrize(
    "odd",
    [
        {"version": "1.0"},
        {"method": "HEAD", "body": b""},
        {"method": "GET", "body": b""},
    ],
)
@virtual_time
async def test_who_can_not_read_an_early_head_gets_a_refusal_in_time(odd: dict[str, object]) -> None:
    _, caller = await asked(**odd)  # type: ignore[arg-type]
    assert 54.9 <= await answered_at(caller) < 56
    assert caller.sent.startswith(b"HTTP/1.1 504 ")


def head(*headers: tuple[bytes, bytes], method: bytes = b"POST") -> RequestHead:
    return RequestHead(method, b"/", "1.1", [(b"Host", b"x"), *headers])


def test_what_asks_for_another_answer_than_200_gets_no_early_head() -> None:
    assert can_be_early(head())
    assert not can_be_early(head((b"Range", b"bytes=0-1")))
    assert not can_be_early(head((b"Connection", b"upgrade"), (b"Upgrade", b"websocket"), method=b"GET"))


@pytest.mark.parametrize(
    ("accept", "sent", "kind"),
    [
        (b"application/json", b"", b"application/json"),
        (b"image/png; q=0.5", b"application/json", b"image/png"),
        (b"image/png, image/webp", b"application/json", b""),
        (b"*/*", b"application/json; charset=utf-8", b"application/json"),
        (b"", b"application/vnd.a+json", b"application/json"),
        (b"*/*", b"image/png", b""),
        (b"image/*", b"application/json", b""),
        (b"", b"", b""),
    ],
)
def test_the_type_of_an_early_head_is_what_the_caller_accepts(accept: bytes, sent: bytes, kind: bytes) -> None:
    assert accepted(head((b"Accept", accept), (b"Content-Type", sent))) == kind


@given(st.binary(max_size=30).filter(lambda value: not set(value) & set(b"\r\n\0")))
def test_no_accept_writes_more_than_a_type(accept: bytes) -> None:
    kind = accepted(head((b"Accept", accept)))
    assert not set(kind) & set(b' \t\r\n,;:"*')


@virtual_time
async def test_what_the_node_itself_cuts_is_not_booked_as_the_callers_leaving() -> None:
    """The runner was slow to take the body, so orchd's own limit came too late."""
    for after_s, outcome, code in ((58.0, "client_gone", ""), (60.1, "timeout", "node_timeout")):
        bench = Bench(models=(a_model(inference=SLOW),))
        bench.server.use_node(Beside(NodeProgram.LIVEPEER_NODE))
        bench.network.reply = None
        caller = bench.caller(request(target=LIVE, body=b"x"))
        await bench.settle()
        (run,) = bench.handler._running
        run.caller.deadline = 1e9
        await asyncio.sleep(after_s)
        caller.lose()
        await bench.idle()
        assert (bench.outcomes, bench.codes) == ([outcome], [code])


STREAMING = a_model(
    ModelKey("live-video-to-video", "tint"), stream=StreamSpec(post_starts_stream=True), inference=InferenceSpec("/p")
)


@virtual_time
async def test_a_start_of_a_stream_is_answered_while_the_node_listens() -> None:
    bench = Bench(models=(STREAMING,), is_open=False, hold_timeout_s=240)
    bench.server.use_node(NODE)
    bench.table.set_closed(STREAMING.key, startable=True, code=Code.NOT_READY, reason="it is cold")
    headers = (("Livepeer-Session-Id", "s1"), ("Livepeer-Session-Token", "t"))
    target = f"/live/{STREAMING.key.slug}/s3cret/stream/start"
    caller = bench.caller(request(*headers, target=target, body=b'{"control_url": "http://x/c"}'))
    assert 54.9 <= await answered_at(caller) < 56
    assert caller.messages[0].status == 503


@virtual_time
async def test_a_container_that_does_not_answer_to_a_start_is_not_waited_for_longer_than_the_node_does() -> None:
    """The wait for a slot has taken most of that time already."""
    bench = Bench(models=(STREAMING,), is_open=False, hold_timeout_s=240)
    bench.server.use_node(NODE)
    bench.table.set_closed(STREAMING.key, startable=True, code=Code.NOT_READY, reason="it is cold")
    containers = bench.keeper.containers
    assert isinstance(containers, FakeContainers)
    containers.gates[StreamCall.START] = asyncio.Event()
    target = f"/live/{STREAMING.key.slug}/s3cret/stream/start"
    body = b'{"subscribe_url": "http://x/s", "publish_url": "http://x/p"}'
    caller = bench.caller(request(("Livepeer-Session-Id", "s1"), target=target, body=body))
    await asyncio.sleep(40)
    bench.table.open(runner_of(STREAMING.key), ADDRESS, None)
    assert 14.9 <= await answered_at(caller) < 16
    assert refused(caller.messages[0]) is Code.BACKEND_TIMEOUT
    assert containers.calls[0] is StreamCall.START
    containers.gates[StreamCall.START].set()
    await bench.idle()
