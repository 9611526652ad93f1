"""Which connections to runners are kept, for how long, and which never serve a job."""

from __future__ import annotations

import asyncio

import pytest

from orchd.domain.ids import Address, ModelKey
from orchd.errors import Code
from orchd.relay.ports import RunnerUnreachable
from tests.jobs.fakes import Bench
from tests.jobs.messages import SWITCHED, UPGRADE, answer, request
from tests.jobs.model import ADDRESS, KEY, a_model, runner_of
from tests.virtual_time import settle, virtual_time

RUNNER = runner_of(KEY)


@virtual_time
async def test_jobs_that_follow_each_other_share_a_connection_and_those_at_once_do_not() -> None:
    bench = Bench(models=(a_model(max_sessions=3),))
    for _ in range(3):
        await bench.serve(request())
    assert len(bench.network.ends) == 1
    bench.network.reply = None
    callers = [bench.caller(request()) for _ in range(3)]
    await bench.settle()
    assert len(bench.network.ends) == 3
    for end in bench.network.ends:
        end.say(answer())
    await bench.idle()
    assert all(caller.messages[0].status == 200 for caller in callers)
    assert len(bench.pool) == 3


@virtual_time
async def test_the_connection_that_was_used_last_is_taken_first() -> None:
    bench = Bench()
    one, two = [await bench.pool.connect(RUNNER, ADDRESS) for _ in range(2)]
    bench.pool.give_back(one)
    bench.pool.give_back(two)
    assert bench.pool.take(RUNNER) is two
    assert bench.pool.take(RUNNER) is one
    assert bench.pool.take(RUNNER) is None
    assert one.reused


@virtual_time
async def test_each_runner_has_its_own() -> None:
    bench = Bench()
    bench.pool.give_back(await bench.pool.connect(RUNNER, ADDRESS))
    assert bench.pool.take(runner_of(KEY, 1)) is None
    assert bench.pool.take(runner_of(ModelKey("image", "org/two"))) is None
    assert bench.network.dialled == [(ADDRESS.host, ADDRESS.port)]


@virtual_time
async def test_a_connection_that_idles_too_long_is_closed() -> None:
    bench = Bench(runner_idle_s=4)
    caller = await bench.serve(request())
    await asyncio.sleep(3.5)
    assert not bench.network.end.lost
    await asyncio.sleep(1)
    assert bench.network.end.lost
    assert len(bench.pool) == 0
    assert not caller.lost
    caller.say(request())
    await bench.idle()
    assert len(bench.network.ends) == 2


@virtual_time
async def test_only_those_that_idled_too_long_are_swept() -> None:
    bench = Bench(runner_idle_s=4)
    one, two = [await bench.pool.connect(RUNNER, ADDRESS) for _ in range(2)]
    bench.pool.give_back(one)
    await asyncio.sleep(2)
    bench.pool.give_back(two)
    bench.pool.sweep(asyncio.get_running_loop().time() + 2.5)
    await settle()
    assert [end.lost for end in bench.network.ends] == [True, False]
    assert bench.pool.take(RUNNER) is two


@pytest.mark.parametrize("how", ["eof", "reset", "bytes"])
def test_a_connection_on_which_something_happens_while_it_idles_is_gone(how: str) -> None:
    @virtual_time
    async def run() -> None:
        bench = Bench()
        await bench.serve(request())
        end = bench.network.end
        if how == "bytes":
            end.say(answer(b"nobody asked"))
        else:
            end.finish() if how == "eof" else end.lose()
        if how != "reset":
            assert bench.pool.take(RUNNER) is None
        await settle()
        assert end.lost
        assert len(bench.pool) == 0
        (got,) = (await bench.serve(request())).messages
        assert got.body == b"answer"
        assert len(bench.network.ends) == 2

    run()


@pytest.mark.parametrize(
    "reply",
    [
        answer(b"answer", ("Connection", "close")),
        b"HTTP/1.0 200 Fine\r\nContent-Length: 6\r\n\r\nanswer",
        answer() + answer(b"nobody asked"),
        answer() + b"nonsense",
        answer() + b"HTTP/1.1 200 OK\r\nX-Evil: ",
        answer() + b"H",
        answer() + b"\r\n",
        answer() + b"\r\n\r\n",
        answer() + b"\r",
        answer(chunks=[b"answer"]) + b"HTTP/1.1 200 OK\r\nX-Evil: ",
        answer(chunks=[b"answer"]) + b"\r\n",
        answer(b"", ("Content-Length", "6"), status=103) + answer(),
        answer(b"", ("Transfer-Encoding", "chunked"), status=103) + answer(),
    ],
)
def test_a_connection_whose_answer_leaves_any_doubt_is_not_kept(reply: bytes) -> None:
    @virtual_time
    async def run() -> None:
        bench = Bench()
        bench.network.reply = reply
        *_, got = (await bench.serve(request())).messages
        assert got.body == b"answer"
        assert bench.network.end.lost
        assert bench.pool.take(RUNNER) is None

    run()


EVIL = b"HTTP/1.1 200 OK\r\nX-Evil: "
BODILESS = [
    ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(EVIL)),
    ("HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("HEAD", b"HTTP/1.1 200 OK\r\n\r\n"),
    ("GET", b"HTTP/1.1 204 None\r\nContent-Length: %d\r\n\r\n" % len(EVIL)),
    ("GET", b"HTTP/1.1 204 None\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("GET", b"HTTP/1.1 304 None\r\nContent-Length: %d\r\n\r\n" % len(EVIL)),
]


@pytest.mark.parametrize("when", ["at once", "in the same turn", "while it idles", "later"])
@pytest.mark.parametrize(("method", "head"), BODILESS)
def test_a_body_where_there_is_none_does_not_reach_the_next_caller(method: str, head: bytes, when: str) -> None:
    """A runner that announces one, and sends it all the same, may do so when the next request is on its way."""

    @virtual_time
    async def run() -> None:
        bench = Bench()
        bench.network.reply = None
        target = "/models/image/org%2Fone/x"
        first = bench.caller(request(method=method, target=target, body=EVIL))
        await bench.settle()
        end = bench.network.end
        end.say(head + (EVIL if when == "at once" else b""))
        if when == "in the same turn":
            end.say(EVIL)
        await bench.idle()
        assert first.messages[0].status in (200, 204, 304)
        if when == "while it idles":
            end.say(EVIL)
        second = bench.caller(request())
        await bench.settle()
        if when == "later":
            end.say(EVIL)
        bench.network.end.say(answer(b"mine"))
        await bench.idle()
        assert second.messages[0].body == b"mine"
        assert second.messages[0].header("X-Evil") is None
        assert end.lost

    run()


@pytest.mark.parametrize(
    ("method", "reply"),
    [("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"), ("POST", b"HTTP/1.1 204 None\r\n\r\n")],
)
def test_an_answer_that_announces_no_body_keeps_its_connection(method: str, reply: bytes) -> None:
    @virtual_time
    async def run() -> None:
        bench = Bench()
        bench.network.reply = reply
        for _ in range(2):
            await bench.serve(request(method=method, target="/models/image/org%2Fone/x"))
        assert len(bench.network.ends) == 1

    run()


@virtual_time
async def test_an_early_answer_does_not_leave_a_connection_in_the_middle_of_a_request() -> None:
    bench = Bench()
    bench.network.reply = None
    caller = bench.caller(request(body=b"abc")[:-1])
    await bench.settle()
    bench.network.end.say(answer())
    await bench.settle()
    assert caller.messages[0].body == b"answer"
    assert bench.network.end.lost


@virtual_time
async def test_a_tunnel_is_never_kept() -> None:
    bench = Bench()
    bench.network.reply = SWITCHED
    caller = bench.caller(UPGRADE)
    await bench.settle()
    caller.finish()
    bench.network.end.finish()
    await bench.idle()
    assert bench.network.end.lost


@virtual_time
async def test_a_closed_runner_keeps_none_and_its_busy_ones_go_with_their_jobs() -> None:
    bench = Bench(models=(a_model(max_sessions=3),))
    idle, busy = [await bench.pool.connect(RUNNER, ADDRESS) for _ in range(2)]
    bench.pool.give_back(idle)
    bench.table.close(RUNNER, Code.DRAINING, "it goes")
    await settle()
    first, second = bench.network.ends
    assert (first.lost, second.lost) == (True, False)
    bench.pool.give_back(busy)
    await settle()
    assert second.lost
    assert bench.pool.take(RUNNER) is None
    assert len(bench.pool) == 0


@virtual_time
async def test_a_runner_that_opens_again_gets_new_ones() -> None:
    bench = Bench()
    old = await bench.pool.connect(RUNNER, ADDRESS)
    bench.pool.retire(RUNNER)
    bench.pool.retire(RUNNER)
    new = await bench.pool.connect(RUNNER, ADDRESS)
    bench.pool.give_back(old)
    bench.pool.give_back(new)
    assert bench.pool.take(RUNNER) is new
    assert bench.pool.take(RUNNER) is None
    await settle()
    assert [end.lost for end in bench.network.ends] == [True, False]


@virtual_time
async def test_closing_closes_all_busy_or_not() -> None:
    bench = Bench()
    connections = [await bench.pool.connect(RUNNER, ADDRESS) for _ in range(3)]
    bench.pool.give_back(connections[0])
    bench.pool.close()
    await settle()
    assert all(end.lost for end in bench.network.ends)
    assert len(bench.pool) == 0


@pytest.mark.parametrize("error", [ConnectionRefusedError(111, "refused"), OSError("no name"), UnicodeError("label")])
def test_no_connection_is_unreachable(error: Exception) -> None:
    @virtual_time
    async def run() -> None:
        bench = Bench()
        bench.network.fails = error
        with pytest.raises(RunnerUnreachable):
            await bench.pool.connect(RUNNER, Address("192.0.2.1", 1))
        assert len(bench.pool) == 0

    run()


@pytest.mark.parametrize("chunks", [None, [b"ab", b"c"]])
def test_a_request_that_a_kept_connection_has_not_taken_goes_once_to_a_new_one(chunks: list[bytes] | None) -> None:
    @virtual_time
    async def run() -> None:
        bench = Bench()
        await bench.serve(request())
        bench.network.end.vanish()
        (got,) = (await bench.serve(request(body=b"abc", chunks=chunks))).messages
        assert (got.status, got.body) == (200, b"answer")
        first, second = bench.network.ends
        assert len(first.messages) == 1
        assert [message.body for message in second.messages] == [b"abc"]
        assert bench.outcomes == ["ok", "ok"]

    run()


@virtual_time
async def test_a_request_of_which_the_runner_may_have_seen_a_byte_is_not_sent_again() -> None:
    bench = Bench()
    await bench.serve(request())
    bench.network.reply = None
    caller = bench.caller(request(body=b"abc"))
    assert len(bench.network.requests) == 2
    bench.network.end.lose()
    await bench.idle()
    assert caller.messages[0].status == 502
    assert len(bench.network.ends) == 1


@virtual_time
async def test_a_request_that_met_a_reset_alone_is_not_sent_again() -> None:
    """It may have overtaken the word that the request was read."""
    bench = Bench()
    await bench.serve(request())
    bench.network.end.lose()
    assert (await bench.serve(request(body=b"abc"))).messages[0].status == 502
    assert len(bench.network.ends) == 1


@virtual_time
async def test_a_request_is_not_sent_a_third_time() -> None:
    bench = Bench()
    await bench.serve(request())
    bench.network.end.vanish()
    caller = bench.caller(request(body=b"abc"))
    await bench.network.connected(2)
    bench.network.end.vanish()
    await bench.idle()
    assert caller.messages[0].status == 502
    assert len(bench.network.ends) == 2


@virtual_time
async def test_a_request_whose_body_is_not_at_hand_any_more_is_not_sent_again() -> None:
    bench = Bench()
    await bench.serve(request())
    bench.network.end.vanish()
    caller = bench.caller(request(body=b"abc")[:-1])
    await bench.settle()
    caller.say(b"c")
    await bench.idle()
    assert caller.messages[0].status == 502
    assert len(bench.network.ends) == 1
