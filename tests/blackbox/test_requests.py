"""Routes, headers, refusals, keep-alive, pipelining, 100-continue, malformed requests, WebSocket."""

from __future__ import annotations

import json

import pytest

from tests.blackbox.conftest import Runner, Server, until
from tests.blackbox.wire import Reply, Wire

FORM = ("Content-Type", "application/x-www-form-urlencoded")


def refused(reply: Reply, status: int, code: str) -> None:
    body = reply.json()
    assert (reply.status, body["error"]) == (status, code)
    assert reply.one("Livepeer-Error") == code
    assert reply.one("Livepeer-Request-Id") == body["request_id"]
    assert body["message"]
    assert (reply.one("Content-Type") or "").startswith("application/json")
    if status == 503:
        assert int(reply.one("Retry-After") or "") >= 0
        assert int(reply.one("Livepeer-Backoff") or "") >= 0


# Routes.


@pytest.mark.parametrize(
    ("target", "headers", "body", "runners_target"),
    [
        ("/single", [], b"{}", "/echo"),
        ("/single?a=%2F&b", [], b"{}", "/echo?a=%2F&b"),
        ("/live/video-to-video", [], b"{}", "/echo"),
        ("/live-video-to-video", [("X-Model-Id", "tint")], b"{}", "/echo"),
        ("/image", [("x-model-id", "org/one")], b"\x00\x01", "/echo"),
        ("/image", [("Content-Type", "application/json")], b'{"x": 1, "model_id": "org/one"}', "/echo"),
        ("/image", [FORM], b"prompt=a&model_id=org%2Fone", "/echo"),
        ("/image", [FORM], b'{"model_id": "org/one"}', "/echo"),
        (
            "/image",
            [("Content-Type", "multipart/form-data; boundary=B")],
            b'--B\r\nContent-Disposition: form-data; name="model_id"\r\n\r\norg/one\r\n--B--\r\n',
            "/echo",
        ),
    ],
)
def test_a_post_to_a_pipeline_finds_its_model(
    server: Server, target: str, headers: list[tuple[str, str]], body: bytes, runners_target: str
) -> None:
    seen = server.ask("POST", target, *headers, body=body).json()
    assert (seen["method"], seen["target"], seen["length"]) == ("POST", runners_target, len(body))


def test_a_long_body_names_its_model_and_passes_unchanged(server: Server) -> None:
    body = b'{"model_id": "org/two", "image": "' + b"A" * 3_000_000 + b'"}'
    assert server.ask("POST", "/image", ("Content-Type", "application/json"), body=body).body == body


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "POST"])
def test_any_method_reaches_the_runner_below_a_models_base_url(server: Server, method: str) -> None:
    target = "/models/image/org%2Fone/echo/a%2Fb/../c//d?x=%20&y=?#"
    seen = server.ask(method, target, body=b"x" if method != "OPTIONS" else None).json()
    assert (seen["method"], seen["target"]) == (method, "/echo/a%2Fb/../c//d?x=%20&y=?#")


@pytest.mark.parametrize(
    ("method", "target", "headers", "status", "code"),
    [
        ("POST", "/nothing", [], 404, "capability_not_served"),
        ("POST", "/image", [("X-Model-Id", "org/none")], 404, "capability_not_served"),
        ("GET", "/single", [], 404, "capability_not_served"),
        ("GET", "/models/image/none/x", [], 404, "capability_not_served"),
        ("POST", "/image", [], 400, "model_not_named"),
        ("POST", "/unready", [], 503, "not_ready"),
        ("GET", "/models/unready/one/health", [], 503, "not_ready"),
        ("GET", "/models/cold/one/health", [], 503, "not_ready"),
    ],
)
def test_what_is_not_here_is_refused_with_reasons(
    server: Server, method: str, target: str, headers: list[tuple[str, str]], status: int, code: str
) -> None:
    reply = server.ask(method, target, *headers, body=b"nothing")
    refused(reply, status, code)
    if status == 404:
        assert "offered here: " in reply.json()["message"], "known ones are named"


def test_orchd_answers_health_itself(server: Server, runner: Runner) -> None:
    requests = runner.seen()["requests"]
    reply = server.ask("GET", "/models/image/org%2Fone/health")
    assert (reply.status, reply.json()) == (200, {"status": "ok"})
    assert server.ask("GET", "/models/gone/one/health").status == 200, "ready is what the loop says"
    assert runner.seen()["requests"] == requests


# Headers.


def test_headers_pass_both_ways_save_those_of_the_connection_and_secrets(server: Server, runner: Runner) -> None:
    sent = [
        ("X-Twice", "1"),
        ("x-tWICE", "2"),
        ("Cookie", "a=b"),
        ("User-Agent", "test/1"),
        ("X-Bytes", "\xff\xe9"),
        ("Connection", "X-Hop, keep-alive"),
        ("X-Hop", "gone"),
        ("Keep-Alive", "timeout=5"),
        ("TE", "trailers"),
        ("Proxy-Authorization", "gone"),
        ("Authorization", "Bearer the caller's"),
        ("Livepeer", "e30="),
        ("Livepeer-Payment", "gone"),
        ("LIVEPEER-SEGMENT", "gone"),
        ("Livepeer-Request-Id", "job-1"),
    ]
    reply = server.ask("POST", "/secret", *sent, body=b"x")
    seen = [tuple(pair) for pair in reply.json()["headers"]]
    assert reply.one("Livepeer-Request-Id") == "job-1"
    assert [pair for pair in seen if pair[0].lower() not in ("host", "connection", "content-length")] == [
        *sent[:5],
        ("Authorization", "Bearer s3cret"),
    ]
    assert ("Host", f"127.0.0.1:{runner.port}") in seen
    assert [name for name, _ in seen].count("Host") == 1


def test_without_a_token_no_credentials_reach_the_runner(server: Server) -> None:
    seen = server.ask("POST", "/single", ("Authorization", "Bearer x"), body=b"").json()
    assert "authorization" not in {name.lower() for name, _ in seen["headers"]}
    assert {name.lower() for name, _ in seen["headers"]} == {"host", "content-length", "connection"}, "nothing is added"


def test_the_runners_headers_reach_the_caller(server: Server, runner: Runner) -> None:
    headers = [["Set-Cookie", "a=1"], ["Set-Cookie", "b=2"], ["X-Odd", "\xff"], ["X-Metadata", "m"], ["Server", "mine"]]
    hops = [["Connection", "X-Hop"], ["X-Hop", "gone"], ["Keep-Alive", "timeout=1"]]
    runner.script(routes={"/scripted": {"code": 401, "headers": [*headers, *hops], "body": "no"}})
    reply = server.ask("GET", "/models/single/one/scripted")
    assert (reply.status, reply.body) == (401, b"no"), "the runner's own answer, not ours"
    assert reply.all("Set-Cookie") == ["a=1", "b=2"]
    assert (reply.one("X-Odd"), reply.one("X-Metadata"), reply.one("Server")) == ("\xff", "m", "mine")
    assert reply.one("X-Hop") is None
    assert reply.one("Keep-Alive") is None
    assert reply.one("Content-Type") is None, "none was given"


def test_each_answer_has_a_request_id(server: Server) -> None:
    ids = {server.ask("POST", "/single", body=b"").one("Livepeer-Request-Id") for _ in range(3)}
    assert len(ids) == 3
    odd = server.ask("POST", "/single", ("Livepeer-Request-Id", "x" * 65), body=b"").one("Livepeer-Request-Id")
    assert odd
    assert len(odd) <= 64


# Limits.


def test_full_is_503_and_the_slot_is_free_with_the_answer(server: Server, runner: Runner) -> None:
    with server.wire() as first:
        first.request("POST", "/single", ("X-Do", "/gate/full"), body=b"x")
        runner.seen("?waiting=1")
        refused(server.ask("POST", "/single", body=b"x"), 503, "capacity_exhausted")
        runner.open_gate("full")
        assert first.reply().status == 200
        for _ in range(50):
            assert server.ask("POST", "/single", body=b"x" * 921_600).status == 200, "whoever has the answer may go on"


def test_a_cold_model_holds_its_job(server: Server) -> None:
    with server.wire() as wire:
        wire.request("POST", "/cold", body=b"held")
        until(lambda: server.waiting() == 1, "it waits")
        assert server.sessions() == 0
        server.let_cold_start()
        assert wire.reply().json()["length"] == 4


@pytest.mark.parametrize("chunked", [False, True])
def test_too_large_is_413_and_the_caller_sees_it(server: Server, chunked: bool) -> None:
    with server.wire() as wire:
        size = 1024 * 1024 + 1
        wire.head(
            "POST",
            "/small",
            ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(size)),
            ("X-Do", "/echo"),
        )
        if chunked:
            wire.chunk(b"x" * size)
            wire.send(b"0\r\n\r\n")
        else:
            wire.send(b"x" * size)
        refused(wire.reply(), 413, "body_too_large")
    assert server.ask("POST", "/small", body=b"x" * (size - 1)).status == 200


@pytest.mark.parametrize("target", ["/nothing", "/unready", "/stream", "/gone"])
@pytest.mark.parametrize("size", [1000, 1_000_000, 7 * 1024 * 1024])
def test_a_refusal_of_a_big_body_is_seen_and_not_a_reset(server: Server, target: str, size: int) -> None:
    with server.wire() as wire:
        wire.request("POST", target, body=b"x" * size)
        assert wire.reply().status in (404, 502, 503)


def test_after_a_refusal_the_connection_serves_on(server: Server) -> None:
    with server.wire() as wire:
        for _ in range(3):
            wire.request("POST", "/unready", body=b"x" * 921_600)
            refused(wire.reply(), 503, "not_ready")
        wire.request("POST", "/single", body=b"x")
        assert wire.reply().status == 200


def test_a_refused_body_without_end_is_not_read_for_ever(server: Server) -> None:
    with server.wire() as wire:
        wire.head("POST", "/unready", ("Transfer-Encoding", "chunked"))
        refused(wire.reply(), 503, "not_ready")
        with pytest.raises(ConnectionError):
            send_without_end(wire)


def send_without_end(wire: Wire) -> None:
    while True:
        wire.chunk(b"x" * 65536)


# The connection.


def test_a_connection_is_kept_and_requests_are_answered_in_order(server: Server) -> None:
    with server.wire() as wire:
        for n in range(5):
            wire.request("POST", "/solo", body=b"%d" % n)
            assert wire.reply().body == b"%d" % n
        wire.send(b"".join(b"POST /solo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n%02d" % n for n in range(60)))
        assert [wire.reply().body for _ in range(60)] == [b"%02d" % n for n in range(60)]
        wire.request("POST", "/solo", ("Connection", "close"), body=b"last")
        assert wire.reply().body == b"last"
        assert wire.ended()


def test_a_pipelined_refusal_does_not_disturb_its_neighbours(server: Server) -> None:
    with server.wire() as wire:
        wire.request("POST", "/solo", body=b"one")
        wire.request("POST", "/nothing", body=b"two")
        wire.request("POST", "/solo", body=b"three")
        assert wire.reply().body == b"one"
        refused(wire.reply(), 404, "capability_not_served")
        assert wire.reply().body == b"three"


def test_http_1_0(server: Server) -> None:
    with server.wire() as wire:
        wire.send(b"POST /solo HTTP/1.0\r\nContent-Length: 3\r\n\r\nold")
        assert wire.reply().body == b"old"
        assert wire.ended()
    with server.wire() as wire:
        wire.send(b"POST /single HTTP/1.0\r\nX-Do: /sse?n=3\r\nContent-Length: 0\r\n\r\n")
        reply = wire.reply()
        assert reply.one("Transfer-Encoding") is None
        assert reply.body == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"


def test_an_absolute_target_is_taken(server: Server) -> None:
    seen = server.ask("POST", "http://orchd.test/single?x=1", body=b"").json()
    assert seen["target"] == "/echo?x=1"


@pytest.mark.parametrize(
    "raw",
    [
        b"GARBAGE\r\n\r\n",
        b"POST /single\r\n\r\n",
        b"POST /single HTTP/1.1\r\n\r\n",
        b"POST /single HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        b"POST /single HTTP/1.1\r\nHost: x\r\nNo colon\r\n\r\n",
        b"POST /single HTTP/1.1\r\nHost : x\r\n\r\n",
        b"POST /single HTTP/1.1\r\nHost: x\r\nA: b\r\n folded\r\n\r\n",
        b"POST /single HTTP/1.1\r\nHost: x\r\nA: b\x00c\r\n\r\n",
        b"POST /single HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"POST /single HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"POST /single HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /single HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
        b"POST /single HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
        b"POST /single HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nA: " + b"x" * 100_000 + b"\r\n\r\n",
        b"POST /single HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n" + (b"A: " + b"x" * 1000 + b"\r\n") * 100 + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_a_malformed_request_is_a_client_error_and_the_connection_ends(server: Server, raw: bytes) -> None:
    with server.wire() as wire:
        wire.send(raw)
        reply = wire.reply()
        assert 400 <= reply.status < 500
        assert reply.json()["error"]
        assert wire.ended()


def test_a_body_that_breaks_its_framing_later_is_a_client_error(server: Server, runner: Runner) -> None:
    requests = runner.seen()["requests"]
    with server.wire() as wire:
        wire.head("POST", "/single", ("Transfer-Encoding", "chunked"))
        wire.chunk(b"x" * 1000)
        runner.seen(f"?requests={requests + 1}")
        wire.send(b"no chunk at all\r\n")
        refused(wire.reply(), 400, "bad_request")
        assert wire.ended()


def test_a_malformed_request_behind_a_good_one_does_not_spoil_it(server: Server, runner: Runner) -> None:
    with server.wire() as wire:
        wire.request("POST", "/single", ("X-Do", "/gate/good"), body=b"good")
        runner.seen("?waiting=1")
        wire.send(b"GARBAGE\r\n\r\n")
        runner.open_gate("good")
        assert wire.reply().json()["gate"] == "good"
        assert 400 <= wire.reply().status < 500
        assert wire.ended()


# 100-continue.


def test_continue_comes_once_slot_and_hooks_have_passed(server: Server) -> None:
    with server.wire() as wire:
        wire.head("POST", "/single", ("Expect", "100-continue"), ("Content-Length", "4"))
        assert wire.reply_head().status == 100
        assert server.sessions() == 1
        wire.send(b"body")
        reply = wire.reply()
        assert (reply.interim, reply.json()["length"]) == ([], 4)
        assert "expect" not in {name.lower() for name, _ in reply.json()["headers"]}


@pytest.mark.parametrize("target", ["/unready", "/nothing", "/stream"])
def test_a_refusal_comes_in_place_of_continue(server: Server, target: str) -> None:
    with server.wire() as wire:
        wire.head("POST", target, ("Expect", "100-continue"), ("Content-Length", "1000000"))
        reply = wire.reply()
        assert (reply.interim, reply.status >= 400) == ([], True)
        assert wire.ended(), "the body that will not come must not be waited for"


def test_too_large_is_said_before_continue(server: Server) -> None:
    with server.wire() as wire:
        wire.head("POST", "/small", ("Expect", "100-continue"), ("Content-Length", "99000000"))
        reply = wire.reply()
        refused(reply, 413, "body_too_large")
        assert reply.interim == []


def test_continue_comes_before_the_read_ahead_where_only_the_body_names_the_model(server: Server) -> None:
    with server.wire() as wire:
        body = b'{"model_id": "org/two"}'
        wire.head("POST", "/image", ("Expect", "100-continue"), ("Content-Length", str(len(body))))
        assert wire.reply_head().status == 100
        assert server.sessions() == 0
        wire.send(body)
        reply = wire.reply()
        assert (reply.interim, reply.body) == ([], body)


# WebSocket.


def test_a_websocket_passes_in_both_directions(server: Server) -> None:
    with server.wire() as wire:
        reply = wire.upgrade(
            "/models/single/one/ws?x=1", ("Sec-WebSocket-Protocol", "chat, other"), ("Authorization", "Bearer x")
        )
        assert (reply.status, reply.one("Sec-WebSocket-Protocol")) == (101, "chat")
        assert (reply.one("Upgrade") or "").lower() == "websocket"
        assert server.sessions() == 1
        for data in (b"text", b"x" * 70_000, "é".encode()):
            wire.frame(1, data)
            assert wire.message() == (1, data)
        wire.frame(2, bytes(range(256)) * 20)
        assert wire.message() == (2, bytes(range(256)) * 20)
        wire.frame(9, b"ping")
        assert wire.message() == (10, b"ping")
        wire.frame(8, (4001).to_bytes(2, "big"))
        assert wire.message() == (8, (4001).to_bytes(2, "big"))
        assert wire.ended()


def test_a_websocket_that_the_runner_closes_ends_with_its_code(server: Server) -> None:
    with server.wire() as wire:
        assert wire.upgrade("/models/single/one/ws").status == 101
        wire.frame(1, b"close")
        assert wire.message() == (8, (1000).to_bytes(2, "big"))
        assert wire.ended()


def test_a_websocket_that_the_runner_drops_ends(server: Server) -> None:
    with server.wire() as wire:
        assert wire.upgrade("/models/single/one/ws").status == 101
        wire.frame(1, b"drop")
        assert wire.ended()


def test_frames_sent_right_behind_the_upgrade_arrive(server: Server) -> None:
    with server.wire() as wire:
        key = ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
        wire.head("GET", "/models/single/one/ws", ("Connection", "Upgrade"), ("Upgrade", "WebSocket"), key)
        wire.frame(1, b"early")
        assert wire.reply_head().status == 101
        assert wire.message() == (1, b"early")


def test_an_upgrade_that_the_runner_declines_is_an_ordinary_answer(server: Server) -> None:
    with server.wire() as wire:
        reply = wire.upgrade("/models/single/one/echo")
        assert reply.status == 200
        body = b"".join(wire.body(reply, "GET"))
        assert json.loads(body)["method"] == "GET"
        wire.request("POST", "/solo", body=b"next")
        assert wire.reply().body == b"next", "the connection is HTTP still"


def test_a_websocket_needs_a_slot(server: Server) -> None:
    with server.wire() as first, server.wire() as second:
        assert first.upgrade("/models/single/one/ws").status == 101
        reply = second.upgrade("/models/single/one/ws")
        assert reply.status == 503
