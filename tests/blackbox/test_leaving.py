"""Whoever leaves, and when: the runner's work is cancelled, its slot comes back, nothing looks complete that is not."""

from __future__ import annotations

import pytest

from tests.blackbox.conftest import Runner, Server, until
from tests.blackbox.wire import Closed


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("when", ["in the body", "before the answer", "in the answer", "in a tunnel"])
def test_a_caller_that_leaves_cancels_the_work_and_the_slot_comes_back(
    server: Server, runner: Runner, when: str, how: str
) -> None:
    wire = server.wire()
    if when == "in the body":
        wire.head("POST", "/single", ("Content-Length", "1000000"))
        wire.send(b"x" * 1000)
    elif when == "before the answer":
        wire.request("POST", "/single", ("X-Do", "/hang"), body=b"x")
    elif when == "in the answer":
        wire.request("POST", "/brief", ("X-Do", "/sse?n=0&interval=0.01"), body=b"x")
        wire.exactly(1000)
    else:
        assert wire.upgrade("/models/brief/one/ws").status == 101
    until(lambda: server.sessions() == 1, "the slot is taken")
    until(lambda: runner.seen()["active"] == 1, "the runner has it")
    (wire.reset if how == "reset" else wire.socket.close)()
    until(lambda: server.sessions() == 0, "the slot is back")
    runner.seen("?idle=1")  # None of these would ever end by itself.


@pytest.mark.parametrize("how", ["close", "reset"])
def test_the_slot_of_a_caller_that_leaves_while_its_runner_does_not_read_comes_back_in_time(
    server: Server, runner: Runner, how: str
) -> None:
    runner.script(mute=True)
    try:
        wire = server.wire()
        # Less than all of the body, so that it waits; and no more than the sockets hold, so that they see it leave.
        wire.head("POST", "/patient", ("Content-Length", "100000000"))
        wire.send_until_unread(90_000_000)
        (wire.reset if how == "reset" else wire.socket.close)()
        until(lambda: server.sessions() == 0, "the slot is back")
    finally:
        runner.script(mute=False)


def test_a_caller_that_leaves_while_it_is_held_leaves_the_queue(server: Server) -> None:
    wire = server.wire()
    wire.request("POST", "/cold", body=b"x")
    until(lambda: server.waiting() == 1, "it waits")
    wire.socket.close()
    until(lambda: server.waiting() == 0, "it left")


@pytest.mark.parametrize("reset", ["", "&reset=1"])
@pytest.mark.parametrize("framing", ["sized", "chunked"])
def test_an_answer_that_breaks_off_does_not_look_complete(server: Server, framing: str, reset: str) -> None:
    with server.wire() as wire:
        wire.request("POST", "/single", ("X-Do", f"/break?of=100000&at=50000&framing={framing}{reset}"), body=b"")
        with pytest.raises(Closed):
            wire.reply()


def test_for_a_caller_of_http_1_0_a_broken_answer_is_a_reset(server: Server) -> None:
    with server.wire() as wire:
        wire.send(b"POST /single HTTP/1.0\r\nX-Do: /break?of=10&at=5&framing=chunked\r\nContent-Length: 0\r\n\r\n")
        with pytest.raises(Closed, match="reset"):
            wire.reply()


@pytest.mark.parametrize("what", ["/break?framing=head", "/break?framing=head&reset=1"])
def test_a_runner_that_breaks_off_before_its_answer_is_502(server: Server, what: str) -> None:
    reply = server.ask("POST", "/single", ("X-Do", what), body=b"")
    assert (reply.status, reply.json()["error"]) == (502, "backend_broke")


def test_an_unreachable_runner_is_502(server: Server) -> None:
    reply = server.ask("POST", "/gone", body=b"x" * 100_000)
    assert (reply.status, reply.json()["error"]) == (502, "backend_unavailable")


def test_a_late_runner_is_504_and_its_work_is_cancelled(server: Server, runner: Runner) -> None:
    cancelled = runner.seen()["cancelled"]
    reply = server.ask("POST", "/impatient", ("X-Do", "/hang"), body=b"")
    assert (reply.status, reply.json()["error"]) == (504, "backend_timeout")
    runner.seen(f"?cancelled={cancelled + 1}")


def test_a_runner_that_falls_silent_in_its_answer_is_broken_off(server: Server) -> None:
    with server.wire() as wire:
        wire.request("POST", "/single", ("X-Do", "/sse?n=2&gate=never"), body=b"")
        reply = wire.reply_head()
        pieces = wire.body(reply)
        assert next(pieces) == b"data: 0\n\n"
        with pytest.raises(Closed):
            next(pieces)


def test_a_caller_that_falls_silent_in_its_body_is_told_and_left(server: Server) -> None:
    with server.wire() as wire:
        wire.head("POST", "/single", ("Content-Length", "100"))
        wire.send(b"x")
        reply = wire.reply()
        assert (reply.status, reply.json()["error"]) == (408, "body_stalled")
        assert wire.ended()


def test_a_slow_caller_is_served(server: Server) -> None:
    with server.wire() as wire:
        for byte in b"POST /solo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nslow!":
            wire.send(bytes([byte]))
        assert wire.reply().body == b"slow!"


def test_a_job_of_another_goes_on_when_one_leaves(server: Server, runner: Runner) -> None:
    stays, leaves = server.wire(), server.wire()
    for wire in (stays, leaves):
        wire.request("POST", "/image", ("X-Model-Id", "org/one"), ("X-Do", "/gate/both"), body=b"x")
    runner.seen("?waiting=2")
    leaves.reset()
    until(lambda: server.sessions() == 1, "one left")
    runner.open_gate("both")
    assert stays.reply().json()["gate"] == "both"
    stays.socket.close()
