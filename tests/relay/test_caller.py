"""A caller's connection: its requests in order, its limits in size and time, and how it ends."""

from __future__ import annotations

import asyncio

import pytest

from orchd.errors import Code
from orchd.relay.callers import MOST_TURNED_AWAY
from tests.jobs.fakes import Bench, FakeHook
from tests.jobs.messages import ONE, UPGRADE, answer, refused, request
from tests.jobs.model import KEY, a_model, runner_of
from tests.relay.transport import FakeTransport
from tests.virtual_time import settle, virtual_time

MIB = 1024 * 1024
GARBAGE = b"this is not HTTP\r\n\r\n"
HEALTH = request(target=f"{ONE}/health", method="GET")


def statuses(caller: FakeTransport) -> list[int]:
    return [message.status for message in caller.messages]


@pytest.mark.parametrize("size", [1, 7, 100, 10_000])
def test_pipelined_requests_are_answered_in_their_order_one_at_a_time(size: int) -> None:
    @virtual_time
    async def run() -> None:
        bench = Bench(hooks=[FakeHook(waits={"identify", "admit", "settle"})])
        bench.network.reply = None
        data = request(body=b"one") + HEALTH + request(chunks=[b"t", b"wo"]) + request(("X-Model-Id", "org/none"))
        caller = bench.caller()
        for at in range(0, len(data), size):
            caller.say(data[at : at + size])
        for asked in (b"one", b"two"):
            await bench.settle()
            assert bench.table.active(KEY) == 1
            assert bench.network.requests[-1].body == asked
            bench.network.end.say(answer(b"to " + asked))
        await bench.idle()
        assert statuses(caller) == [200, 200, 200, 404]
        assert [caller.messages[at].body for at in (0, 2)] == [b"to one", b"to two"]
        assert not caller.over

    run()


@virtual_time
async def test_few_pipelined_requests_are_in_memory_beyond_the_one_that_is_served() -> None:
    bench = Bench()
    bench.network.reply = None
    caller = bench.caller(request(body=b"x" * 60_000) * 20)
    await bench.settle()
    assert not caller.reading
    unread = sum(len(piece) for piece in caller.inbox if piece is not None and not isinstance(piece, Exception))
    assert unread > 10 * 60_000
    bench.network.reply = answer()
    for _ in range(20):
        await bench.settle()
    assert statuses(caller) == [200] * 20


@pytest.mark.parametrize("at_once", [True, False])
def test_garbage_behind_a_request_gets_its_400_after_that_ones_answer(at_once: bool) -> None:
    @virtual_time
    async def run() -> None:
        bench = Bench()
        bench.network.reply = None
        caller = bench.caller(request(body=b"abc") + (GARBAGE if at_once else b""))
        await bench.settle()
        if not at_once:
            caller.say(GARBAGE)
        assert caller.sent == b""
        bench.network.end.say(answer())
        await bench.idle()
        assert statuses(caller) == [200, 400]
        assert refused(caller.messages[1]) is Code.BAD_REQUEST
        assert caller.ended
        assert bench.outcomes == ["ok"]
        assert bench.metrics.refused == [Code.BAD_REQUEST]

    run()


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (GARBAGE, Code.BAD_REQUEST),
        (b"GET / HTTP/1.1\r\n\r\n", Code.BAD_REQUEST),
        (request(("Content-Length", "1"), chunks=[b"a"]), Code.BAD_REQUEST),
        (request(("X-A", "a" * 70_000)), Code.HEADER_TOO_LARGE),
        (b"GET /" + b"a" * 70_000, Code.HEADER_TOO_LARGE),
    ],
)
def test_what_is_no_request_is_refused_and_the_connection_ends(data: bytes, code: Code) -> None:
    @virtual_time
    async def run() -> None:
        bench = Bench()
        caller = bench.caller(data)
        (got,) = caller.messages
        assert refused(got) is code
        assert got.header("Connection") == "close"
        assert caller.ended
        assert bench.metrics.refused == [code]
        assert bench.outcomes == []

    run()


@virtual_time
async def test_the_longest_head_that_is_allowed_passes() -> None:
    bench = Bench(max_header_kb=4)
    empty = len(request(("X-A", "")))
    assert statuses(await bench.serve(request(("X-A", "a" * (4096 - empty))))) == [200]
    assert statuses(await bench.serve(request(("X-A", "a" * (4097 - empty))))) == [431]


@virtual_time
async def test_a_head_that_takes_too_long_is_408_however_it_trickles() -> None:
    bench = Bench(header_timeout_s=10, keepalive_s=90)
    caller = bench.caller()
    for byte in request()[:30]:
        await asyncio.sleep(0.5)
        caller.say(bytes([byte]))
    assert refused(caller.messages[0]) is Code.HEADER_TIMEOUT
    assert caller.ended
    assert bench.metrics.closed == ["header_timeout"]
    assert bench.metrics.refused == [Code.HEADER_TIMEOUT]


@virtual_time
async def test_a_next_head_has_as_long_from_its_first_byte_whatever_the_job_before_had_left() -> None:
    bench = Bench(header_timeout_s=10, between_bytes_timeout_s=3)
    first, rest = request()[:20], request()[20:]
    caller = bench.caller(request() + first)
    await bench.idle()
    await asyncio.sleep(8)
    caller.say(rest)
    await bench.idle()
    assert statuses(caller) == [200, 200]
    await asyncio.sleep(30)
    caller.say(first)
    await asyncio.sleep(11)
    assert statuses(caller) == [200, 200, 408]


@virtual_time
async def test_a_connection_that_says_nothing_is_closed_without_a_word() -> None:
    bench = Bench(header_timeout_s=10, keepalive_s=90)
    silent, kept = bench.caller(), await bench.serve(request())
    await asyncio.sleep(11)
    assert silent.lost
    assert silent.sent == b""
    assert not kept.lost
    await asyncio.sleep(80)
    assert kept.lost
    assert statuses(kept) == [200]
    assert bench.metrics.closed == ["idle", "idle"]


@virtual_time
async def test_where_clients_connect_ahead_a_new_connection_may_be_silent_longer() -> None:
    bench = Bench(header_timeout_s=10, keepalive_s=90)
    bench.server.callers.silent_s = 35
    silent, ahead, slow = (bench.caller() for _ in range(3))
    await asyncio.sleep(30)
    ahead.say(request())
    await bench.idle()
    slow.say(request()[:5])
    await asyncio.sleep(6)
    assert (silent.lost, bytes(silent.sent)) == (True, b"")
    assert statuses(ahead) == [200]
    assert not slow.lost
    await asyncio.sleep(5)
    assert statuses(slow) == [408], "its head has no longer than any other"


@virtual_time
async def test_who_is_answered_with_close_has_time_to_read_it() -> None:
    bench = Bench(refused_body_s=5)
    caller = await bench.serve(request(("Connection", "close")))
    assert caller.messages[0].header("Connection") == "close"
    assert caller.ended
    caller.say(request())
    await bench.idle()
    assert len(caller.messages) == 1, "what follows is not served"
    await asyncio.sleep(4.5)
    assert not caller.lost, "closing would destroy what the caller has not read"
    await asyncio.sleep(1)
    assert caller.lost
    assert not caller.socket.resets


@virtual_time
async def test_who_has_read_it_and_closes_is_let_go_at_once() -> None:
    bench = Bench()
    caller = await bench.serve(request(("Connection", "close")))
    caller.finish()
    await settle()
    assert caller.lost


@virtual_time
async def test_http_1_0_ends_unless_it_asks_not_to() -> None:
    bench = Bench()
    once = await bench.serve(request(version="1.0"))
    assert once.ended
    again = await bench.serve(request(("Connection", "keep-alive"), version="1.0") * 2)
    assert statuses(again) == [200, 200]
    assert again.messages[0].header("Connection") == "keep-alive"
    assert not again.ended


@virtual_time
async def test_what_is_left_of_a_refused_body_is_dropped_and_the_connection_goes_on() -> None:
    bench = Bench()
    whole = request(("X-Model-Id", "org/none"), body=b"x" * 100_000)
    caller = bench.caller(whole[:50_000])
    assert statuses(caller) == [404]
    caller.say(whole[50_000:] + request())
    await bench.idle()
    assert statuses(caller) == [404, 200]
    assert caller.messages[0].header("Connection") is None
    assert bench.network.requests[0].body == b""


@virtual_time
async def test_a_refused_body_that_is_late_ends_the_connection() -> None:
    bench = Bench(refused_body_s=5)
    caller = bench.caller(request(("X-Model-Id", "org/none"), body=b"x" * 100)[:-50])
    await asyncio.sleep(4.5)
    assert not caller.over
    await asyncio.sleep(1)
    assert caller.ended
    caller.say(b"x" * 50 + request())
    await asyncio.sleep(6)
    assert caller.lost
    assert statuses(caller) == [404]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_refused_body_that_is_too_long_or_endless_is_told_so_and_not_read_for_ever(chunked: bool) -> None:
    @virtual_time
    async def run() -> None:
        bench = Bench(refused_body_mb=1)
        headers = [("X-Model-Id", "org/none")]
        head = request(*headers, chunks=[b"x"])[:-5] if chunked else request(*headers, body=b"x" * 3 * MIB)[: -3 * MIB]
        caller = bench.caller(head)
        assert caller.messages[0].header("Connection") == "close"
        assert caller.ended
        sent = 0
        while not caller.lost and sent < 4 * MIB:
            caller.say(b"x" * 65536)
            sent += 65536
            await settle()
        assert MIB <= sent <= MIB + 2 * 65536

    run()


@virtual_time
async def test_a_caller_that_waits_to_be_asked_for_a_refused_body_is_not_asked() -> None:
    bench = Bench()
    caller = bench.caller(request(("X-Model-Id", "org/none"), ("Expect", "100-continue"), body=b"abc")[:-3])
    assert statuses(caller) == [404]
    assert caller.messages[0].header("Connection") == "close", "it may send the body or not: nobody can tell"
    assert caller.ended


@virtual_time
async def test_100_continue_is_said_once_and_only_to_who_waits() -> None:
    bench = Bench()
    whole = request(("Expect", "100-Continue"), body=b"abc")
    caller = bench.caller(whole[:-3])
    await bench.settle()
    for byte in (b"a", b"b", b"c"):
        caller.say(byte)
    await bench.idle()
    assert statuses(caller) == [100, 200]
    assert statuses(await bench.serve(whole)) == [200], "the body is there already"
    assert statuses(await bench.serve(request(("Expect", "100-continue"), body=b"abc", version="1.0"))) == [200]
    assert [asked.body for asked in bench.network.requests] == [b"abc"] * 3


@virtual_time
async def test_interim_answers_of_the_runner_pass_and_its_100_does_not() -> None:
    bench = Bench()
    interim = answer(b"", ("Link", "</a>"), status=103)
    bench.network.reply = answer(b"", status=100) + interim + answer()
    caller = await bench.serve(request())
    assert statuses(caller) == [103, 200]
    assert caller.messages[0].header("Link") == "</a>"
    assert statuses(await bench.serve(request(version="1.0"))) == [200], "who speaks 1.0 knows no such thing"


@virtual_time
async def test_one_connection_too_many_is_503_and_room_comes_back() -> None:
    bench = Bench(max_connections=2)
    first, second = bench.caller(), bench.caller()
    third = bench.caller()
    assert third.sent == b"", "nobody has asked yet"
    third.say(request())
    assert refused(third.messages[0]) is Code.TOO_MANY_CONNECTIONS
    assert third.messages[0].header("Connection") == "close"
    assert bench.metrics.refused == [Code.TOO_MANY_CONNECTIONS]
    third.finish()
    await settle()
    assert third.lost
    assert len(third.messages) == 1
    first.finish()
    await settle()
    assert statuses(await bench.serve(request())) == [200]
    second.say(request())
    await bench.idle()
    assert statuses(second) == [200]


@virtual_time
async def test_one_too_many_that_asks_for_nothing_is_closed_without_a_word_and_few_such_are_kept() -> None:
    bench = Bench(max_connections=1, header_timeout_s=10)
    bench.caller()
    more = [bench.caller() for _ in range(MOST_TURNED_AWAY + 3)]
    await settle()
    assert [caller.lost for caller in more] == [False] * MOST_TURNED_AWAY + [True] * 3
    await asyncio.sleep(11)
    assert all(caller.lost for caller in more)
    assert all(caller.sent == b"" for caller in more)


@pytest.mark.parametrize("lines", [b"\r\n", b"\r", b"\r\n\r\n", b"\r\n" * 50])
@pytest.mark.parametrize("fresh", [True, False])
def test_empty_lines_are_ignored_and_nothing_unasked_is_sent(lines: bytes, fresh: bool) -> None:
    """Some clients send one behind a body. A 408 for it would be the answer to their next request."""

    @virtual_time
    async def run() -> None:
        bench = Bench(header_timeout_s=10, keepalive_s=90)
        caller = bench.caller() if fresh else await bench.serve(request())
        known = len(caller.sent)
        caller.say(lines)
        await asyncio.sleep(8 if fresh else 80)
        caller.say(lines.removeprefix(b"\r") if lines == b"\r" else lines)
        assert len(caller.sent) == known
        if fresh:
            await asyncio.sleep(3)
            assert caller.lost, "they bring no time"
        else:
            caller.say((b"\n" if lines == b"\r" else b"") + request())
            await bench.idle()
            assert statuses(caller) == [200, 200]
            caller.say(lines)
            await asyncio.sleep(95)
            assert caller.lost
            assert statuses(caller) == [200, 200]
        assert len(caller.sent) >= known
        assert bench.metrics.refused == []

    run()


@pytest.mark.parametrize("how", ["runner declines", "orchd refuses"])
def test_what_follows_an_upgrade_that_is_declined_is_http(how: str) -> None:
    @virtual_time
    async def run() -> None:
        bench = Bench()
        bench.network.reply = answer(b"no", status=403)
        data = UPGRADE if how == "runner declines" else UPGRADE.replace(b"org%2Fone", b"org%2Fnone")
        caller = await bench.serve(data + request(body=b"abc") + HEALTH)
        assert statuses(caller) == [403 if how == "runner declines" else 404, 403, 200]
        assert bench.network.requests[-1].body == b"abc"

    run()


@virtual_time
async def test_an_upgrade_to_anything_but_websocket_is_a_plain_request() -> None:
    bench = Bench()
    h2c = request(("Connection", "Upgrade"), ("Upgrade", "h2c"), method="GET", target=f"{ONE}/x")
    assert statuses(await bench.serve(h2c + HEALTH)) == [200, 200]
    assert bench.network.requests[0].header("Upgrade") is None
    post = request(("Connection", "Upgrade"), ("Upgrade", "websocket"), body=b"abc")
    assert statuses(await bench.serve(post + HEALTH)) == [200, 200]
    assert bench.network.requests[1].header("Upgrade") is None


@virtual_time
async def test_a_caller_that_takes_nothing_stops_the_reading_from_its_runner() -> None:
    bench = Bench()
    bench.network.reply = None
    caller = bench.caller(room=0)
    caller.say(request())
    await bench.settle()
    runner = bench.network.end
    runner.say(answer(b"x" * 400_000)[:-100_000])
    await settle()
    assert not runner.reading
    assert sum(len(piece) for piece in runner.inbox if isinstance(piece, bytes)) > 0, "the rest stays where it is"
    caller.take()
    await settle()
    assert runner.reading
    runner.say(b"x" * 100_000)
    await bench.idle()
    assert len(caller.messages[0].body) == 400_000


@virtual_time
async def test_a_runner_that_takes_nothing_stops_the_reading_from_its_caller() -> None:
    bench = Bench(models=(a_model(max_sessions=1),))
    bench.network.reply, bench.network.room = None, 0
    caller = bench.caller(request(body=b"x" * 400_000))
    await bench.settle()
    assert not caller.reading
    assert sum(len(piece) for piece in caller.inbox if isinstance(piece, bytes)) > 0
    bench.network.end.take()
    await bench.settle()
    assert len(bench.network.requests[0].body) == 400_000
    assert caller.reading, "to see it leave"
    bench.network.end.say(answer())
    await bench.idle()
    assert bench.table.active_on(runner_of(KEY)) == 0


@virtual_time
async def test_a_caller_that_leaves_while_nothing_is_read_from_it_is_noticed_in_time() -> None:
    bench = Bench(between_bytes_timeout_s=60)
    bench.network.reply, bench.network.room = None, 0
    caller = bench.caller(request(body=b"x" * 400_000))
    await bench.settle()
    assert not caller.reading
    caller.lose()
    await asyncio.sleep(2)
    assert bench.outcomes == ["client_gone"]


@virtual_time
async def test_an_idle_connection_is_closed_when_orchd_leaves_and_a_busy_one_after_its_answer() -> None:
    bench = Bench()
    idle, busy = bench.caller(), bench.caller()
    bench.network.reply = None
    busy.say(request())
    await bench.settle()
    bench.server.stop_accepting()
    bench.network.end.say(answer())
    await bench.settle()
    assert busy.messages[0].header("Connection") == "close"
    assert busy.ended
    busy.finish()
    await bench.server.close()
    assert idle.lost
    assert busy.lost
    await settle()
    assert bench.network.end.lost
