"""An answer of a hook's: what it may hold, and how each door gives it to each kind of caller."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from orchd.domain.model import InferenceSpec, Secret, StreamSpec
from orchd.doors.listed import DOORS
from orchd.errors import JOB_ANSWERS, Code
from orchd.hooks.refusal import (
    FORBIDDEN,
    MAX_BODY_BYTES,
    MAX_HEADER_BYTES,
    MAX_HEADERS,
    MAX_VALUE_LENGTH,
    Refusal,
)
from tests.jobs.fakes import Bench, FakeHook
from tests.jobs.messages import ONE, request
from tests.jobs.model import KEY, a_model
from tests.virtual_time import virtual_time

TERMS = {"payment_params": "AA==", "manifest_id": "m1", "nested": {"price": [1, 2]}}
PAY = Refusal(402, "cannot serve the job: it is not paid", headers=[("X-Payment-Terms", "v1; wei=7")], body=TERMS)
MODEL = a_model(stream=StreamSpec(), inference=InferenceSpec("/image"), max_sessions=2)
PREFIXES = {"direct": ONE, "byoc": f"/byoc/{KEY.slug}", "live-runner": f"/live/{KEY.slug}/segment"}
NAMES = {"direct": "X-Stream-Id", "byoc": "X-Stream-Id", "live-runner": "Livepeer-Session-Id"}
SOCKET = [
    *(("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")),
    ("Sec-WebSocket-Version", "13"),
]


def asked(door: str, kind: str) -> bytes:
    """Return a request of this kind at this door."""
    prefix = PREFIXES[door]
    match kind:
        case "batch":
            return request(target=f"{prefix}/x", body=b"{}")
        case "event stream":
            return request(("Accept", "text/event-stream"), target=f"{prefix}/x", body=b"{}")
        case "stream start":
            media = b'{"subscribe_url": "http://media.test/in", "publish_url": "http://media.test/out"}'
            return request((NAMES[door], "s1"), target=f"{prefix}/stream/start", body=media)
    return request(*SOCKET, target=f"{prefix}/ws", method="GET")


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("call", ["identify", "admit"])
@pytest.mark.parametrize("kind", ["batch", "event stream", "stream start", "websocket"])
@pytest.mark.parametrize("door", [door.name for door in DOORS])
def test_a_402_reaches_every_caller_at_every_door_but_the_nodes_as_403(
    door: str, kind: str, call: str, waits: bool
) -> None:
    @virtual_time
    async def run() -> None:
        hook = FakeHook(fails={call: PAY}, waits={call} if waits else set())
        bench = Bench(models=(MODEL,), hooks=[hook])
        caller = await bench.serve(asked(door, kind))
        (message,) = caller.messages
        assert message.status == (402 if door == "direct" else 403)
        assert message.header("X-Payment-Terms") == "v1; wei=7"
        assert message.header("Content-Type") == "application/json"
        assert message.header("Livepeer-Error") == "payment_required"
        assert message.header("Livepeer-Request-Id")
        assert message.header("Retry-After") is None
        assert json.loads(message.body) == TERMS
        assert bench.network.dialled == []
        # Live Runner's session is the node's to end: refusing its start frees no slot.
        held = (door, kind, call) == ("live-runner", "stream start", "admit")
        assert bench.table.active(KEY) == held
        assert bench.codes == ["payment_required"]
        assert bench.log.lines[-1]["status"] == message.status, "the log says what went out"
        hook.fails.clear()
        caller.say(asked(door, "batch") if door != "live-runner" else asked(door, kind))
        await bench.idle()
        assert caller.messages[1].status in (101, 200), "the connection goes on, and who pays is served"

    run()


@pytest.mark.parametrize("door", [door.name for door in DOORS])
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 409, 418, 429, 451, 480, 481, 482, 499, 503])
def test_any_4xx_and_503_goes_out_but_none_to_a_node_that_means_something_else_to_it(door: str, status: int) -> None:
    @virtual_time
    async def run() -> None:
        refusal = Refusal(status, "cannot serve you", retry_after_s=7)
        bench = Bench(models=(MODEL,), hooks=[FakeHook(fails={"identify": refusal})])
        caller = await bench.serve(asked(door, "batch"))
        (message,) = caller.messages
        others = {401, 402, 480, 482} if door != "direct" else set()
        assert message.status == (403 if status in others else status)
        body = json.loads(message.body)
        assert (body["error"], body["message"]) == (refusal.code, "cannot serve you")
        assert message.header("Livepeer-Error") == refusal.code
        assert message.header("Retry-After") == ("7" if status in (429, 503) else None)

    run()


@virtual_time
async def test_a_hook_that_answers_what_can_not_be_an_answer_refuses_with_503() -> None:
    class Odd(FakeHook):
        def identify(self, job: Any) -> None:
            raise Refusal(200, "cannot: it is fine")

    bench = Bench(hooks=[Odd()])
    with structlog.testing.capture_logs() as logs:
        caller = await bench.serve(request(body=b"x"))
    assert caller.messages[0].status == 503
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["hook_failed"]


@virtual_time
async def test_no_answer_of_a_hook_shows_what_the_runner_or_the_node_proves_itself_with() -> None:
    """A hook sees the credentials of a request, and may quote them by mistake."""

    class Quoting(FakeHook):
        def identify(self, job: Any) -> None:
            proof = job.proof
            seen = [each.decode() for each in (proof.token, proof.segment) if each] if proof else []
            seen += ["t0ken-of-the-runner"]
            raise Refusal(402, "cannot", headers=[("X-Seen", " ".join(seen))], body={"seen": seen})

    bench = Bench(models=(replace(MODEL, token=Secret("t0ken-of-the-runner")),), hooks=[Quoting()])
    for door, prefix in PREFIXES.items():
        headers = [("Authorization", "Bearer s3cret-of-the-node")] if door == "byoc" else []
        target = f"{prefix.replace('segment', 's3cret-of-the-node')}/x"
        caller = await bench.serve(request(*headers, target=target, body=b"{}"))
        assert caller.messages[0].status in (402, 403)
        assert b"***" in caller.sent
        assert b"t0ken-of-the-runner" not in caller.sent
        assert b"s3cret-of-the-node" not in caller.sent


@pytest.mark.parametrize("door", [door.name for door in DOORS])
def test_a_reason_is_what_programs_are_told_and_the_code_stays_what_is_counted(door: str) -> None:
    @virtual_time
    async def run() -> None:
        refusal = Refusal(403, "cannot serve you", reason="nonce_seen", code=Code.PAYMENT_REQUIRED)
        bench = Bench(models=(MODEL,), hooks=[FakeHook(fails={"identify": refusal})])
        caller = await bench.serve(asked(door, "batch"))
        (message,) = caller.messages
        assert (json.loads(message.body)["error"], message.header("Livepeer-Error")) == ("nonce_seen",) * 2
        (line,) = bench.log.lines
        assert (line["code"], line["error"], line["reason"]) == ("payment_required", "nonce_seen", "cannot serve you")
        assert bench.codes == ["payment_required"]

    run()


@pytest.mark.parametrize("reason", ["", "A", "a b", "a-b", "ä", "a" * 65, "a\n"])
def test_another_reason_is_no_refusal(reason: str) -> None:
    with pytest.raises(ValueError, match="cannot refuse with the reason"):
        Refusal(402, "cannot", reason=reason)


# What an answer may hold.


@pytest.mark.parametrize("status", [-1, 0, 100, 200, 302, 399, 500, 502, 504, 600])
def test_another_status_is_no_refusal(status: int) -> None:
    with pytest.raises(ValueError, match=f"cannot refuse with status {status}"):
        Refusal(status, "cannot")


@pytest.mark.parametrize(
    "wrong",
    [
        *({"status": 402.0}, {"status": True}, {"status": "402"}, {"message": b"x"}, {"message": None}),
        *({"retry_after_s": value} for value in ("1\r\nX-Evil: 1", -5, 1.7, float("nan"), None, True, 2**31)),
    ],
)
def test_what_has_the_wrong_type_is_no_refusal(wrong: dict[str, Any]) -> None:
    given: dict[str, Any] = {"status": 503, "message": "cannot"} | wrong
    with pytest.raises((TypeError, ValueError), match="cannot refuse with"):
        Refusal(**given)


def test_the_code_is_one_that_metrics_and_documents_know() -> None:
    assert Refusal(402, "cannot").code is Code.PAYMENT_REQUIRED
    assert Refusal(429, "cannot").code is Code.HOOK_REFUSED
    assert Refusal(429, "cannot", code=Code.CAPACITY_EXHAUSTED).code is Code.CAPACITY_EXHAUSTED
    assert {Code.PAYMENT_REQUIRED, Code.HOOK_REFUSED} <= set(JOB_ANSWERS)
    with pytest.raises(ValueError, match="cannot refuse with the code store_broken"):
        Refusal(403, "cannot", code=Code.STORE_BROKEN)


@pytest.mark.parametrize(
    "header",
    [
        ("X-A", "a\r\nX-B: b"),
        ("X-A", "a\nX-B: b"),
        ("X-A", "a\rb"),
        ("X-A", "a\0b"),
        ("X-A", "\u20ac"),
        ("X-A", "a\x7f"),
        ("X-A\r\nX-B", "b"),
        ("X-A: b\r\nX", "b"),
        ("X A", "b"),
        ("", "b"),
        ("X\u00e9", "b"),
        ("X" * 129, "b"),
        ("X-A", "b" * (MAX_VALUE_LENGTH + 1)),
        ("X-A", "Bearer abcdefghijklmnopqrst"),
        *((name, "b") for name in sorted(FORBIDDEN)),
        ("Content_Length", "5"),
        ("TRANSFER-ENCODING", "chunked"),
    ],
    ids=lambda header: repr(header)[:40],
)
def test_a_header_that_could_do_harm_is_refused(header: tuple[str, str]) -> None:
    with pytest.raises(ValueError, match="cannot refuse with the header"):
        Refusal(402, "cannot", headers=[header])


def test_headers_and_body_have_bounds() -> None:
    Refusal(402, "cannot", headers=[("X-A", "b")] * MAX_HEADERS)
    with pytest.raises(ValueError, match=f"at most {MAX_HEADERS}"):
        Refusal(402, "cannot", headers=[("X-A", "b")] * (MAX_HEADERS + 1))
    with pytest.raises(ValueError, match=f"at most {MAX_HEADER_BYTES}"):
        Refusal(402, "cannot", headers=[("X-A", "b" * 6000)] * 3)
    with pytest.raises(ValueError, match=f"at most {MAX_BODY_BYTES}"):
        Refusal(402, "cannot", body={"a": "b" * MAX_BODY_BYTES})
    assert len(Refusal(402, "cannot" * 1000).message) == 1000


@pytest.mark.parametrize(
    "body", [{"a": object()}, {"a": float("nan")}, {"a": b"x"}, {"a": "Bearer abcdefghijklmnopqrst"}]
)
def test_a_body_that_is_no_json_or_holds_a_credential_is_refused(body: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="cannot refuse with this body"):
        Refusal(402, "cannot", body=body)


@given(
    st.lists(st.tuples(st.text(max_size=20), st.text(max_size=40)), max_size=5),
    st.none() | st.dictionaries(st.text(), st.none() | st.booleans() | st.integers() | st.text(), max_size=5),
)
def test_what_is_not_refused_is_one_head_and_one_json_body(
    headers: list[tuple[str, str]], body: dict[str, Any] | None
) -> None:
    try:
        refusal = Refusal(402, "cannot", headers=headers, body=body)
    except ValueError:
        return
    for door in DOORS:
        status, lines, sent = door.refusal(refusal, "r1")
        assert status == (403 if door.of_node else 402)
        assert all(b"\r" not in part and b"\n" not in part for line in lines for part in line)
        names = [name.lower() for name, _ in lines]
        assert {b"content-length", b"transfer-encoding", b"connection"}.isdisjoint(names)
        assert names.count(b"content-type") == 1
        assert json.loads(sent) == (body if body is not None else json.loads(sent))
