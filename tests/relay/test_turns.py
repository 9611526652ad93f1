"""How much is done for one connection between two turns of the loop, and how much of it is kept in memory: both have
bounds, whatever the bytes are. Counted are steps, heads, bytes and pieces, never time.
"""

from __future__ import annotations

import asyncio
import errno
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from orchd.http1 import rules
from orchd.http1.chunks import ChunkedBody
from orchd.http1.message import Message
from orchd.http1.parser import HEAD_STEPS, STEPS, AnswerParser, MessageParser, RequestParser
from orchd.http1.rules import NO_NAMES, AnswerHead, RequestHead
from orchd.jobs.handle import Handler
from orchd.relay.caller import REFUSAL_STEPS
from orchd.relay.callers import LOOKOUT_TICKS, MOST_A_TICK, TICK_S
from orchd.relay.wire import SMALL_BYTES, TURN_BYTES, Wire
from tests.jobs.fakes import Bench
from tests.jobs.messages import SWITCHED, UPGRADE, answer, request
from tests.relay.transport import FakeTransport
from tests.virtual_time import virtual_time

MIB = 1024 * 1024
READ_BYTES = 256 * 1024
MOST_HEADS = STEPS // HEAD_STEPS + 1


class Meter:
    """Counts what is done in each turn of the loop, by kind and by who it is done for.

    Attributes:
        most: of each kind, in one turn for one.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.most: Counter[str] = Counter()
        self._turn: Counter[tuple[str, int]] = Counter()
        feed, head, handle, take_in = ChunkedBody.feed, MessageParser._head, Handler.handle, Wire.buffer_updated

        def counted_feed(body: ChunkedBody, data: bytes, take: Callable[[bytes], None], steps: int) -> tuple[int, int]:
            at, left = feed(body, data, take, steps)
            self.add("chunks", body, steps - left)
            return at, left

        def counted_head(parser: MessageParser[Any], data: bytes) -> bytes:
            self.add("heads", parser, 1)
            rest: bytes = head(parser, data)
            return rest

        def counted_handle(handler: Handler, caller: Any) -> None:
            self.add("requests", caller, 1)
            handle(handler, caller)

        def counted_read(wire: Wire, nbytes: int) -> None:
            self.add("bytes", wire, nbytes)
            take_in(wire, nbytes)

        monkeypatch.setattr(ChunkedBody, "feed", counted_feed)
        monkeypatch.setattr(MessageParser, "_head", counted_head)
        monkeypatch.setattr(Handler, "handle", counted_handle)
        monkeypatch.setattr(Wire, "buffer_updated", counted_read)
        loop: Any = asyncio.get_running_loop()
        run_once = loop._run_once

        def counted_turn() -> None:
            self._turn.clear()
            run_once()

        loop._run_once = counted_turn

    def add(self, kind: str, whose: object, number: int) -> None:
        self._turn[kind, id(whose)] += number
        self.most[kind] = max(self.most[kind], self._turn[kind, id(whose)])

    def check(self) -> None:
        assert STEPS <= 1024
        assert HEAD_STEPS >= 32
        assert TURN_BYTES <= 2 * MIB
        assert self.most["chunks"] <= STEPS
        assert self.most["heads"] <= 2 * MOST_HEADS  # One more for each that is looked for in vain.
        assert self.most["requests"] <= MOST_HEADS
        assert self.most["bytes"] <= TURN_BYTES + READ_BYTES


def memory_of(end: FakeTransport) -> int:
    """Return what orchd keeps for a connection: bytes read and not passed on, and answers that nobody has taken."""
    wire: Any = end.protocol
    parser = wire.parser
    kept: int = sum(map(len, parser.held)) + sum(map(len, wire.unsent)) + len(end._buffer)
    kept += sum(message.waiting + 100 * len(message.pieces) for message in parser.messages)
    return kept + len(parser._reader.raw)


async def watched(bench: Bench, *ends: FakeTransport, turns: int = 3000) -> int:
    """Let all happen that can; return the most memory that was ever kept."""
    most = 0
    for _ in range(turns):
        await asyncio.sleep(0)
        most = max([most, *map(memory_of, [*ends, *bench.network.ends])])
    return most


@pytest.mark.parametrize("size", [1, 2, 300])
def test_a_body_in_small_chunks_has_its_turn_like_others(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    @virtual_time
    async def run() -> None:
        bench, meter = Bench(), Meter(monkeypatch)
        count = 40_000 if size < 9 else 5000
        chunks = [b"%0*x" % (size, at % 10) for at in range(count)]
        caller = bench.caller(request(chunks=chunks))
        most = await watched(bench, caller)
        await bench.idle()
        assert bench.network.requests[0].body == b"".join(chunks)
        assert caller.messages[0].body == b"answer"
        assert meter.most["chunks"] > 0
        meter.check()
        assert most < 2 * READ_BYTES

    run()


@pytest.mark.parametrize("size", [1, 2, 300])
@pytest.mark.parametrize("takes", [None, 50_000])
def test_so_has_an_answer(size: int, takes: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    @virtual_time
    async def run() -> None:
        bench, meter = Bench(), Meter(monkeypatch)
        count = 40_000 if size < 9 else 5000
        chunks = [b"%0*x" % (size, at % 10) for at in range(count)]
        bench.network.reply = None
        caller = bench.caller(request(), room=takes)
        await bench.settle()
        bench.network.end.say(answer(chunks=chunks))
        most = await watched(bench, caller)
        caller.take()
        await bench.idle()
        assert caller.messages[0].body == b"".join(chunks)
        meter.check()
        assert most < 2 * READ_BYTES
        assert not bench.network.end.lost, "it serves the next"

    run()


def test_what_a_runner_said_before_it_reset_its_connection_is_passed_on_in_turns(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @virtual_time
    async def run() -> None:
        bench, meter = Bench(), Meter(monkeypatch)
        bench.network.reply = None
        caller = bench.caller(request())
        await bench.settle()
        end = bench.network.end
        end.say(answer(chunks=[b"ab"] * 2000))
        wire: Any = end.protocol
        assert wire.parser.held
        end._lose(ConnectionResetError(errno.ECONNRESET, "reset"))
        await bench.idle()
        assert caller.messages[0].body == b"ab" * 2000
        assert bench.outcomes == ["ok"]
        meter.check()

    run()


@pytest.mark.parametrize("ends", ["proper", "reset"])
def test_an_answer_that_breaks_off_behind_what_is_held_is_one_that_broke_off(ends: str) -> None:
    @virtual_time
    async def run() -> None:
        bench = Bench()
        bench.network.reply = None
        caller = bench.caller(request())
        await bench.settle()
        end = bench.network.end
        end.say(answer(chunks=[b"ab"] * 2000)[:-5])
        end._lose(ConnectionResetError(errno.ECONNRESET, "reset") if ends == "reset" else None)
        await bench.idle()
        assert bytes(caller.sent).count(b"ab") > 0
        assert bench.outcomes == ["backend_failed"]
        assert caller.socket.resets

    run()


@pytest.mark.parametrize("kind", ["refused", "asked for health", "garbage behind"])
def test_pipelined_requests_have_their_turn(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    @virtual_time
    async def run() -> None:
        bench, meter = Bench(), Meter(monkeypatch)
        one = request(("X-Model-Id", "org/none")) if kind == "refused" else request(method="GET", target="/nowhere")
        caller = bench.caller(one * 2000 + (b"garbage\r\n\r\n" if kind == "garbage behind" else b""))
        await watched(bench, caller)
        statuses = [message.status for message in caller.messages]
        assert statuses == [404] * 2000 + ([400] if kind == "garbage behind" else [])
        meter.check()

    run()


@pytest.mark.parametrize("ends", ["closed", "reset"])
def test_a_caller_that_leaves_while_its_requests_are_held_is_forgotten_without_an_error(ends: str) -> None:
    @virtual_time
    async def run() -> None:
        faults: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, said: faults.append(said))
        bench = Bench()
        caller = bench.caller(b"".join(request(target=f"/none{at}") for at in range(200)))
        wire: Any = caller.protocol
        assert wire.parser.held
        caller._lose(ConnectionResetError(errno.ECONNRESET, "reset") if ends == "reset" else None)
        await bench.idle()
        assert caller.lost
        assert not faults

    run()


@pytest.mark.parametrize("way", ["known heads", "unknown heads"])
def test_a_refusal_takes_more_steps_as_a_model_is_looked_for(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    @virtual_time
    async def run() -> None:
        bench, meter = Bench(), Meter(monkeypatch)
        sent = [request(target=f"/none{at if way == 'unknown heads' else ''}") for at in range(200)]
        caller = bench.caller(b"".join(sent))
        await watched(bench, caller)
        assert [message.status for message in caller.messages] == [404] * 200
        assert meter.most["requests"] <= STEPS // REFUSAL_STEPS + 1 <= 5

    run()


@pytest.mark.parametrize("size", range(0, 2000, 80))
def test_a_request_that_takes_the_last_steps_is_served_all_the_same(size: int) -> None:
    """Heads of several lengths, so that the steps of a turn are used up at any point of a request."""

    @virtual_time
    async def run() -> None:
        bench = Bench()
        caller = bench.caller()
        for count in range(1, 40):
            caller.say(request(("X-Model-Id", "none"), ("X-Pad", "x" * size + str(count))))
            await bench.idle()
            assert len(caller.messages) == count

    run()


def test_who_takes_no_answers_gets_no_more_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    @virtual_time
    async def run() -> None:
        bench, meter = Bench(between_bytes_timeout_s=60), Meter(monkeypatch)
        caller = bench.caller(room=0)
        caller.say(request(("X-Model-Id", "org/none")) * 8000)
        assert await watched(bench, caller) < 2 * READ_BYTES
        assert not caller.reading
        caller.take(1000)
        assert await watched(bench, caller) < 2 * READ_BYTES
        caller.take()
        await watched(bench, caller)
        assert bytes(caller.sent).count(b"HTTP/1.1 404") == 8000
        meter.check()

    run()


@virtual_time
async def test_who_takes_none_for_too_long_is_let_go_by_a_reset() -> None:
    bench = Bench(between_bytes_timeout_s=7)
    caller = bench.caller(room=0)
    caller.say(request(("X-Model-Id", "org/none")) * 2000)
    await asyncio.sleep(6)
    assert not caller.lost
    await asyncio.sleep(2)
    assert caller.lost
    assert caller.socket.resets


@pytest.mark.parametrize("answered", [True, False])
def test_what_follows_a_request_to_switch_is_not_read_before_it_is_answered(answered: bool) -> None:
    @virtual_time
    async def run() -> None:
        bench = Bench()
        bench.network.reply = None
        data = bytes(range(256)) * (4 * MIB // 256)
        caller = bench.caller(UPGRADE)
        await bench.settle()
        caller.say(data)
        assert await watched(bench, caller) <= SMALL_BYTES
        if answered:
            bench.network.end.say(SWITCHED)
            await watched(bench)
            assert bytes(bench.network.end.sent).endswith(data)
        caller.lose()
        await bench.idle()

    run()


def test_interim_answers_have_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    @virtual_time
    async def run() -> None:
        bench, meter = Bench(), Meter(monkeypatch)
        bench.network.reply = None
        caller = bench.caller(request())
        await bench.settle()
        bench.network.end.say(answer(b"", ("Link", "</a>"), status=103) * 5000 + answer())
        await watched(bench, caller)
        assert [message.status for message in caller.messages] == [103] * 5000 + [200]
        meter.check()

    run()


@pytest.mark.parametrize("way", ["up", "down"])
def test_a_big_body_has_its_turn_too(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    @virtual_time
    async def run() -> None:
        bench, meter = Bench(), Meter(monkeypatch)
        body = bytes(range(256)) * (12 * MIB // 256)
        if way == "down":
            bench.network.reply = answer(body)
        caller = bench.caller(request(body=body if way == "up" else b""))
        await bench.idle()
        got = bench.network.requests[0] if way == "up" else caller.messages[0]
        assert got.body == body
        meter.check()
        assert meter.most["bytes"] >= TURN_BYTES, "it is no slower than it must be"

    run()


@pytest.mark.parametrize("size", [1, 2, 100, 5000])
def test_pieces_of_a_body_take_no_more_memory_than_its_bytes(size: int) -> None:
    parser = RequestParser(65536)
    pieces = [b"%0*d" % (size, at % 10) for at in range(200_000 // size)]
    body = b"".join(pieces)
    parser.feed(request(body=body)[: -len(body)])
    for piece in pieces:
        parser.feed(piece)
    (message,) = parser.messages
    assert message.ended
    assert len(message.pieces) <= 65
    assert message.waiting == len(body)
    assert message.take() == body
    assert message.waiting == 0


def test_how_much_waits_is_known_without_looking_at_the_pieces() -> None:
    class Sealed(list[Any]):
        def __iter__(self) -> Any:
            raise AssertionError("a sum over pieces")

    message = Message(RequestHead(b"GET", b"/", "1.0", []))
    message.pieces = Sealed()
    for _ in range(1000):
        message.add(b"ab")
    assert message.waiting == 2000


HEADS = [
    b"POST /%b HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" % (b"a" * 5000),
    b"POST / HTTP/1.1\r\nHost: a\r\nX-Long: %b\r\nContent-Length: 0\r\n\r\n" % (b"a" * 5000),
    b"POST / HTTP/1.1\r\nHost: a\r\n%bContent-Length: 0\r\n\r\n" % (b"X: y\r\n" * 800),
]


@pytest.mark.parametrize("raw", HEADS)
@pytest.mark.parametrize("size", [1, 3, 1000, 100_000])
def test_each_line_of_a_head_is_read_once_and_whole(raw: bytes, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """llhttp's binding copies what it has of a line for each new piece of it."""
    parser = RequestParser(65536)
    fed: list[bytes] = []
    read = parser._reader._feed
    monkeypatch.setattr(parser._reader, "_feed", lambda lines: fed.append(lines) or read(lines))  # type: ignore[func-returns-value]
    parser._heads = {}
    for at in range(0, len(raw), size):
        parser.steps = STEPS
        parser.feed(raw[at : at + size])
    assert parser.messages
    assert b"".join(fed) == raw
    assert all(piece.endswith(b"\n") for piece in fed[1:])


def test_names_that_connection_declares_are_put_together_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class NoUnions(frozenset[bytes]):
        def union(self, *_: object) -> Any:
            raise AssertionError("a union for each line is quadratic")

        __or__ = union

    monkeypatch.setattr(rules, "NO_NAMES", NoUnions(NO_NAMES))
    names = [b"x-%d" % at for at in range(1000)]
    headers = [(b"Host", b"a"), *((b"Connection", name) for name in names)]
    assert RequestHead(b"GET", b"/", "1.1", headers).hops == frozenset(names)
    assert AnswerHead(200, b"", "1.1", headers, method=b"GET").hops == frozenset(names)


@pytest.mark.parametrize("make", [RequestParser, AnswerParser])
def test_a_parser_stops_when_its_steps_are_used_up_and_loses_nothing(make: type[RequestParser]) -> None:
    parser = make(65536)
    first = b"POST / HTTP/1.1\r\nHost: a" if make is RequestParser else b"HTTP/1.1 200 OK"
    bodies = [b"%d" % (at % 10) for at in range(5000)]
    chunks = b"".join(b"1\r\n%b\r\n" % body for body in bodies) + b"0\r\n\r\n"
    parser.feed(first + b"\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks)
    turns = 0
    while parser.held:
        turns += 1
        assert parser.steps <= 0
        parser.go_on()
        assert parser.steps <= 0, "not without new ones"
        parser.steps = STEPS
        parser.go_on()
    assert turns >= 5000 // STEPS
    (message,) = parser.messages
    assert message.ended
    assert message.take() == b"".join(bodies)


@pytest.mark.parametrize("count", [MOST_A_TICK, 3 * MOST_A_TICK, 15 * MOST_A_TICK])
def test_of_many_connections_each_tick_looks_after_its_share(count: int) -> None:
    looked, expired = Counter[float](), Counter[float]()
    seen, ended = Counter[int](), Counter[int]()

    class Connection:
        reading, serving, closed = False, True, False
        deadline = 0.0

        def look_out(self, now: float) -> None:
            looked[now] += 1
            seen[id(self)] += 1

        def expire(self) -> None:
            expired[asyncio.get_running_loop().time()] += 1
            ended[id(self)] += 1
            self.deadline = float("inf")

    @virtual_time
    async def run() -> None:
        bench = Bench()
        made: list[Any] = [Connection() for _ in range(count)]
        for each in made:
            bench.server.callers.joined(each)
        await asyncio.sleep(3.05 * TICK_S * LOOKOUT_TICKS)
        assert set(ended.values()) == {1}
        assert len(ended) == len(seen) == count
        assert min(seen.values()) >= 2, "each second"
        assert max(expired.values()) <= MOST_A_TICK
        assert max(looked.values()) <= max(MOST_A_TICK, -(-count // LOOKOUT_TICKS))
        for each in made:
            bench.server.callers.left(each)

    run()
