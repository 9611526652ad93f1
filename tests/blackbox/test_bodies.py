"""Bodies pass byte for byte, in any framing and size, streamed both ways, and memory does not grow with them."""

from __future__ import annotations

import gzip
import hashlib
import os
import threading
from collections.abc import Iterator

import pytest

from tests.blackbox.conftest import Runner, Server
from tests.blackbox.wire import PIECE, Closed, Wire

MIB = 1024 * 1024
BIG = 256 * MIB
SLACK_KB = 48 * 1024


def noise(size: int, piece: int = PIECE) -> Iterator[bytes]:
    block = os.urandom(piece)
    while size:
        yield block[: min(piece, size)]
        size -= min(piece, size)


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 65537, 921_600, 5 * MIB + 3])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_comes_back_as_it_went(server: Server, size: int, chunked: bool) -> None:
    body = os.urandom(size)
    with server.wire() as wire:
        framing = ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(size))
        wire.head("POST", "/solo", framing, ("Content-Type", "application/octet-stream"))
        sender = threading.Thread(target=send, args=(wire, body, chunked))
        sender.start()
        reply = wire.reply()
        sender.join()
    assert (reply.status, reply.one("Content-Type")) == (200, "application/octet-stream")
    assert hashlib.sha256(reply.body).digest() == hashlib.sha256(body).digest()
    assert (reply.one("Content-Length") is None) == chunked


def send(wire: Wire, body: bytes, chunked: bool) -> None:
    if not chunked:
        return wire.send(body)
    for start in range(0, len(body), 100_000):
        wire.chunk(body[start : start + 100_000])
    return wire.send(b"0\r\n\r\n")


@pytest.mark.parametrize("chunked", [False, True])
def test_framing_and_bytes_reach_the_runner(server: Server, chunked: bool) -> None:
    body = os.urandom(300_000)
    with server.wire() as wire:
        wire.head(
            "POST", "/single", ("Transfer-Encoding", "chunked") if chunked else ("Content-Length", str(len(body)))
        )
        send(wire, body, chunked)
        seen = wire.reply().json()
    assert seen["framing"] == ("chunked" if chunked else "sized")
    assert (seen["length"], seen["sha256"]) == (len(body), hashlib.sha256(body).hexdigest())


def test_a_compressed_body_is_not_touched(server: Server) -> None:
    body = gzip.compress(b"the same again\n" * 1000)
    reply = server.ask("POST", "/single", ("Content-Encoding", "gzip"), body=body)
    seen = reply.json()
    assert seen["sha256"] == hashlib.sha256(body).hexdigest()
    assert ["Content-Encoding", "gzip"] in seen["headers"]
    not_gzip = server.ask("POST", "/solo", ("Content-Encoding", "gzip"), body=b"not gzip at all")
    assert (not_gzip.status, not_gzip.body) == (200, b"not gzip at all")


def test_a_compressed_answer_is_not_touched(server: Server) -> None:
    reply = server.ask("POST", "/single", ("X-Do", "/gzip"), ("Accept-Encoding", "gzip"), body=b"")
    assert reply.one("Content-Encoding") == "gzip"
    assert gzip.decompress(reply.body) == b"the same again\n".replace(b"again", b"line again") * 1000
    assert int(reply.one("Content-Length") or 0) == len(reply.body)


def test_hundreds_of_mebibytes_pass_up_in_bounded_memory(server: Server) -> None:
    before = server.peak_kb()
    digest = hashlib.sha256()
    with server.wire() as wire:
        wire.head("POST", "/single", ("Content-Length", str(BIG)))
        for piece in noise(BIG, MIB):
            digest.update(piece)
            wire.send(piece)
        seen = wire.reply().json()
    assert (seen["length"], seen["sha256"]) == (BIG, digest.hexdigest())
    assert server.peak_kb() - before < SLACK_KB


@pytest.mark.parametrize("chunked", ["", "&chunked=1"])
def test_hundreds_of_mebibytes_pass_down_in_bounded_memory(server: Server, chunked: str) -> None:
    before = server.peak_kb()
    with server.wire() as wire:
        wire.request("POST", "/single", ("X-Do", f"/bytes?n={BIG}{chunked}"), body=b"")
        reply = wire.reply_head()
        assert sum(len(piece) for piece in wire.body(reply)) == BIG
    assert server.peak_kb() - before < SLACK_KB


def test_a_caller_that_does_not_read_does_not_fill_our_memory(server: Server, runner: Runner) -> None:
    before = server.peak_kb()
    wires = [server.wire(receive_buffer=4096) for _ in range(4)]
    finished = runner.seen()["finished"]
    for wire in wires:
        wire.request("POST", "/image", ("X-Model-Id", "org/one"), ("X-Do", f"/bytes?n={BIG}"), body=b"")
        assert wire.reply_head().status == 200
    for wire in wires:
        wire.exactly(MIB)
    assert server.peak_kb() - before < SLACK_KB
    assert runner.seen()["finished"] == finished, "the runner waits for who does not read"
    for wire in wires:
        wire.socket.close()


def test_a_runner_that_does_not_read_holds_the_caller_up(server: Server) -> None:
    before = server.peak_kb()
    with server.wire() as wire:
        wire.head("POST", "/single", ("Content-Length", str(BIG)), ("X-Do", "/early?code=200"))
        reply = wire.reply()
        assert (reply.status, reply.json()) == (200, {"early": True})
        with pytest.raises((ConnectionError, Closed)):
            push_on(wire)
    assert server.peak_kb() - before < SLACK_KB


def push_on(wire: Wire) -> None:
    """Send more than anybody means to read."""
    for piece in noise(BIG, MIB):
        wire.send(piece)
    wire.some()


@pytest.mark.parametrize("size", [10, 200_000, 3_000_000])
def test_a_runner_that_answers_early_and_closes_is_heard(server: Server, size: int) -> None:
    for _ in range(20):
        reply = server.ask("POST", "/single", ("X-Do", "/early?code=413&close=1"), body=b"x" * size)
        assert (reply.status, reply.json()) == (413, {"early": True})


def test_both_ways_at_once(server: Server) -> None:
    with server.wire() as wire:
        wire.head("POST", "/solo", ("Transfer-Encoding", "chunked"))
        wire.chunk(b"first")
        reply = wire.reply_head()
        pieces = wire.body(reply)
        assert next(pieces) == b"first", "the answer begins while the request goes on"
        for n in range(5):
            wire.chunk(b"%d" % n)
            assert next(pieces) == b"%d" % n
        wire.send(b"0\r\n\r\n")
        assert list(pieces) == []


def test_server_sent_events_come_one_by_one(server: Server, runner: Runner) -> None:
    with server.wire() as wire:
        wire.request("POST", "/single", ("X-Do", "/sse?n=4&gate=events"), body=b"{}")
        reply = wire.reply_head()
        assert reply.one("Content-Type") == "text/event-stream"
        pieces = wire.body(reply)
        for n in range(4):
            if n:
                runner.open_gate("events", 1)
            assert next(pieces) == b"data: %d\n\n" % n
        assert list(pieces) == []
        assert server.sessions() == 0


def test_an_answer_that_ends_by_closing_arrives_whole(server: Server) -> None:
    reply = server.ask("POST", "/single", ("X-Do", "/close"), body=b"")
    assert (reply.status, reply.body) == (200, b"until the end")


def test_trailers_do_not_spoil_the_body(server: Server) -> None:
    assert server.ask("POST", "/single", ("X-Do", "/trailers"), body=b"").body == b"body"
    with server.wire() as wire:
        wire.head("POST", "/single", ("Transfer-Encoding", "chunked"), ("Trailer", "X-Sum"))
        wire.chunk(b"body")
        wire.send(b"0\r\nX-Sum: 4\r\n\r\n")
        assert wire.reply().json()["length"] == 4
        wire.request("POST", "/single", body=b"again")
        assert wire.reply().status == 200


def test_chunks_with_extensions_and_of_one_byte(server: Server) -> None:
    with server.wire() as wire:
        wire.head("POST", "/solo", ("Transfer-Encoding", "chunked"))
        wire.send(b"1;a=b\r\nx\r\n" * 2000 + b"0\r\n\r\n")
        assert wire.reply().body == b"x" * 2000


@pytest.mark.parametrize("status", [204, 304])
def test_answers_without_a_body_keep_the_connection_in_step(server: Server, status: int) -> None:
    with server.wire() as wire:
        for _ in range(2):
            wire.request("GET", "/models/single/one/", ("X-Do", f"/status/{status}"))
            reply = wire.reply("GET")
            assert (reply.status, reply.body) == (status, b"")
            assert reply.one("Transfer-Encoding") is None


def test_head_says_the_length_and_sends_nothing(server: Server) -> None:
    with server.wire() as wire:
        for _ in range(2):
            wire.request("HEAD", "/models/single/one/bytes?n=1000")
            reply = wire.reply("HEAD")
            assert (reply.status, reply.one("Content-Length")) == (200, "1000")
        wire.request("GET", "/models/single/one/bytes?n=3")
        assert wire.reply("GET").body == b"xxx"


def test_interim_answers_do_not_end_the_job(server: Server) -> None:
    reply = server.ask("POST", "/single", ("X-Do", "/interim"), body=b"")
    assert (reply.status, reply.json()) == (200, {})
