"""A job that is cut, and its runner: what it is told, when its slot is free, and that nothing more is charged."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from orchd.domain.ids import ModelKey
from orchd.domain.model import HealthSpec, InferenceSpec
from orchd.domain.outcomes import Outcome
from orchd.domain.ports import ProbeWord
from orchd.errors import Code, JobRefused
from orchd.relay.abandoned import MOST_BYTES, MOST_INTERIM
from tests.jobs.fakes import Bench, Charging
from tests.jobs.messages import SWITCHED, UPGRADE, answer, request
from tests.jobs.model import KEY, a_model, runner_of
from tests.relay.transport import FakeTransport
from tests.virtual_time import virtual_time

ANSWER_S = 60.0
"""`inference.timeout_s` of the model."""


def slots(bench: Bench) -> tuple[int, int]:
    """Return how many run, and how many let go."""
    return bench.table.running(KEY), bench.table.letting_go(KEY)


async def begun(bench: Bench, said: bytes = b"", asks: bytes | None = None) -> FakeTransport:
    """Return the caller of a job that its runner has, and has answered with this so far."""
    bench.network.reply = None
    caller = bench.caller(request(body=b"abc") if asks is None else asks)
    await bench.settle()
    if said:
        bench.network.end.say(said)
        await bench.settle()
    assert slots(bench) == (1, 0)
    return caller


async def left(bench: Bench, said: bytes = b"", asks: bytes | None = None) -> FakeTransport:
    """Return the runner's connection of a job whose caller has left, when its runner had answered this."""
    caller = await begun(bench, said, asks)
    caller.lose()
    await bench.idle()
    return bench.network.end


# Whoever cuts it.


def caller_leaves(bench: Bench, caller: FakeTransport) -> None:
    caller.lose()


def caller_sends_no_more(bench: Bench, caller: FakeTransport) -> None:
    caller.finish()


def runner_leaves_the_table(bench: Bench, caller: FakeTransport) -> None:
    bench.table.abort(runner_of(KEY), "its drain deadline passed")


def orchd_stops(bench: Bench, caller: FakeTransport) -> None:
    bench.handler.abort_all("orchd is shutting down")


def hook_refuses_to_charge(bench: Bench, caller: FakeTransport) -> None:
    bench.hooks[0].fails["charge"] = JobRefused(Code.FORBIDDEN, "cannot pay any more")


def nobody_moves(bench: Bench, caller: FakeTransport) -> None:
    """The runner is late."""


CUTS = [caller_leaves, caller_sends_no_more, runner_leaves_the_table, orchd_stops, hook_refuses_to_charge, nobody_moves]


@pytest.mark.parametrize("said", [b"", answer(b"x" * 100)[:-60]], ids=["before an answer", "in an answer"])
@pytest.mark.parametrize("cut", CUTS)
def test_whoever_cuts_a_job_its_slot_lets_go_and_its_account_is_closed(
    cut: Callable[[Bench, FakeTransport], None], said: bytes
) -> None:
    @virtual_time
    async def run() -> None:
        hook = Charging()
        bench = Bench(hooks=[hook])
        caller = await begun(bench, said)
        cut(bench, caller)
        await bench.idle()
        assert slots(bench) == (0, 1)
        assert len(hook.settled) == len(bench.log.lines) == len(bench.metrics.jobs) == 1
        charged = len(hook.charged)
        assert b"(0 run, 1 letting go)" in (await bench.serve(request())).sent
        await asyncio.sleep(ANSWER_S)
        assert slots(bench) == (0, 0)
        assert (len(hook.settled), len(hook.charged)) == (1, charged), "nothing is charged behind the end"
        await bench.settle()
        assert bench.network.end.lost, "no connection is kept"
        assert len(bench.pool) == 0

    run()


# What the runner sees, and what frees the slot.


@virtual_time
async def test_before_an_answer_our_side_is_closed_and_the_answer_is_dropped_until_its_end() -> None:
    bench = Bench()
    end = await left(bench)
    assert end.ended
    assert not end.lost
    for piece in (answer(b"x" * 100)[:-60], b"x" * 59):
        end.say(piece)
        await bench.settle()
        assert slots(bench) == (0, 1)
    end.say(b"x")
    assert slots(bench) == (0, 0), "in the step in which it ends"
    await bench.settle()
    assert end.lost
    assert bench.outcomes == ["client_gone"]


@virtual_time
async def test_a_runner_that_closes_has_ended_its_work() -> None:
    for closes in (FakeTransport.finish, FakeTransport.lose):
        for said in (b"", answer(b"x" * 100)[:-60]):
            bench = Bench()
            end = await left(bench)
            end.say(said)
            assert slots(bench) == (0, 1)
            closes(end)
            await bench.settle()
            assert slots(bench) == (0, 0)
            assert end.lost


@virtual_time
async def test_inside_an_answer_the_connection_is_reset_and_nothing_more_is_read() -> None:
    for said in (b"H", answer(b"x" * 100)[:20], answer(b"x" * 100)[:-60], answer(chunks=[b"x"])[:-5]):
        bench = Bench()
        end = await left(bench, said)
        assert end.socket.resets
        assert end.lost
        assert slots(bench) == (0, 1)


@virtual_time
async def test_a_tunnel_is_reset() -> None:
    bench = Bench()
    end = await left(bench, SWITCHED + b"hello", asks=UPGRADE)
    assert end.socket.resets
    assert slots(bench) == (0, 1)


@virtual_time
async def test_a_tunnel_whose_sides_have_both_ended_is_over() -> None:
    bench = Bench()
    caller = await begun(bench, SWITCHED, asks=UPGRADE)
    caller.finish()
    await bench.settle()
    assert slots(bench) == (1, 0), "each direction ends by itself"
    bench.network.end.finish()
    await bench.idle()
    assert slots(bench) == (0, 0)
    assert bench.outcomes == ["ok"]


@pytest.mark.parametrize("framing", ["length", "chunks"])
def test_a_request_that_is_cut_in_its_middle_never_looks_whole(framing: str) -> None:
    @virtual_time
    async def run() -> None:
        bench = Bench()
        whole = request(body=b"abc") if framing == "length" else request(chunks=[b"abc"])
        end = await left(bench, asks=whole[: -1 if framing == "length" else -5])
        assert end.ended
        assert slots(bench) == (0, 1)
        assert [message.end for message in end.messages] == [None]

    run()


@virtual_time
async def test_what_waits_to_be_sent_when_its_caller_leaves_is_not_sent() -> None:
    """Of the small requests of one turn all but the first wait for its end."""
    bench = Bench(models=(a_model(max_sessions=2),))
    for _ in range(2):
        bench.network.reply = answer()
    first, second = bench.caller(request(body=b"1")), bench.caller(request(body=b"2"))
    await bench.idle()
    bench.network.reply = None
    first.say(request(body=b"3"))
    second.say(request(body=b"4"))
    second.finish()
    await bench.settle()
    assert slots(bench) == (1, 0), "the runner never had it"
    assert b"4" not in [message.body for message in bench.network.requests]


@virtual_time
async def test_a_job_that_was_never_sent_frees_its_slot_at_once() -> None:
    bench = Bench()
    bench.network.gate = asyncio.Event()
    caller = bench.caller(request())
    await bench.settle()
    caller.lose()
    await bench.idle()
    assert slots(bench) == (0, 0)


@virtual_time
async def test_a_runner_that_has_ended_its_answer_keeps_no_slot_whatever_its_caller_does() -> None:
    bench = Bench()
    caller = bench.caller(room=10)
    caller.say(request())
    await bench.settle()
    assert slots(bench) == (1, 0)
    caller.lose()
    await bench.idle()
    assert slots(bench) == (0, 0)
    assert bench.outcomes == ["client_gone"]


@virtual_time
async def test_a_runner_that_has_closed_behind_what_its_caller_does_not_take_keeps_no_slot() -> None:
    bench = Bench()
    bench.network.reply = None
    caller = bench.caller(room=10)
    caller.say(request())
    await bench.settle()
    bench.network.end.say(answer(b"x" * 100)[:-60])
    await bench.settle()
    bench.network.end.finish()
    caller.lose()
    await bench.idle()
    assert slots(bench) == (0, 0)


@virtual_time
async def test_an_answer_that_is_not_passed_on_is_read_to_its_end() -> None:
    """What the node must not see is refused by us, with the runner in the middle of its answer."""
    bench = Bench()
    caller = await begun(bench, asks=request(target=f"/byoc/{KEY.slug}"))
    bench.network.end.say(answer(b"who are you", status=401)[:-5])
    await bench.idle()
    assert Code.BACKEND_UNUSABLE in bench.codes
    assert slots(bench) == (0, 1)
    bench.network.end.say(b"e you")
    await bench.settle()
    assert slots(bench) == (0, 0)
    assert b"who" not in caller.sent


@virtual_time
async def test_interim_answers_are_no_answer() -> None:
    bench = Bench()
    end = await left(bench, answer(b"", status=103))
    assert end.ended
    assert not end.lost
    end.say(answer(b"", status=103) + answer())
    assert slots(bench) == (0, 0)


# Bounds.


@virtual_time
async def test_an_answer_that_nobody_wants_is_dropped_as_it_comes_and_cut_off_where_it_is_too_long() -> None:
    bench = Bench()
    end = await left(bench)
    piece = b"x" * 64 * 1024
    end.say(answer(chunks=[])[:-5])
    for _ in range(MOST_BYTES // len(piece)):
        end.say(b"%x\r\n%b\r\n" % (len(piece), piece))
        (held,) = [sum(map(len, message.pieces)) for each in bench.pool.connections for message in each.parser.messages]
        assert held == 0, "it does not heap up"
    assert not end.socket.resets
    end.say(b"1\r\nx\r\n")
    await bench.settle()
    assert end.socket.resets
    assert end.lost
    assert slots(bench) == (0, 1), "nobody sees its end any more"
    await asyncio.sleep(ANSWER_S)
    assert slots(bench) == (0, 0)


@pytest.mark.parametrize("said", [answer(b"", status=103) * (MOST_INTERIM + 1), b"SSH-2.0\r\n\r\n", SWITCHED])
def test_what_has_no_end_that_we_know_is_cut_off(said: bytes) -> None:
    @virtual_time
    async def run() -> None:
        bench = Bench()
        end = await left(bench, asks=UPGRADE)
        end.say(said)
        await bench.settle()
        assert end.socket.resets
        assert end.lost
        assert slots(bench) == (0, 1)

    run()


@virtual_time
async def test_a_probe_frees_what_was_reset_and_not_what_is_still_watched() -> None:
    model = a_model(health=HealthSpec(ready=("idle",), busy=("ok",)), sessions_per_replica=1)
    for said, frees in ((b"", False), (answer(b"x" * 100)[:-60], True)):
        bench = Bench(models=(model,))
        await left(bench, said)
        await asyncio.sleep(1)
        bench.letting_go.probed(runner_of(KEY), model, ProbeWord.READY, asyncio.get_running_loop().time())
        assert slots(bench) == (0, 1 - frees)


@virtual_time
async def test_the_time_is_the_models_own_and_counts_from_the_cut() -> None:
    bench = Bench(models=(a_model(inference=InferenceSpec("/x", timeout_s=5)),))
    caller = await begun(bench)
    await asyncio.sleep(3)
    caller.lose()
    await asyncio.sleep(4.9)
    assert slots(bench) == (0, 1)
    await asyncio.sleep(0.2)
    assert slots(bench) == (0, 0)


@virtual_time
async def test_a_runner_that_is_gone_frees_its_slots_and_only_those() -> None:
    other = ModelKey("image", "org/two")
    bench = Bench(models=(a_model(), a_model(other)))
    for key in (KEY, other):
        bench.network.reply = None
        caller = bench.caller(request(("X-Model-Id", key.model_id)))
        await bench.settle()
        caller.lose()
    await bench.idle()
    bench.table.gone(runner_of(KEY))
    assert (bench.table.active(KEY), bench.table.active(other)) == (0, 1)
    await bench.settle()
    assert [end.lost for end in bench.network.ends] == [True, False]


@virtual_time
async def test_the_end_of_orchd_waits_for_nothing_that_lets_go() -> None:
    bench = Bench()
    end = await left(bench)
    began = asyncio.get_running_loop().time()
    await bench.server.drain(30)
    await bench.server.close()
    assert asyncio.get_running_loop().time() == began
    assert slots(bench) == (0, 0)
    await bench.settle()
    assert end.lost


@virtual_time
async def test_a_job_is_settled_when_it_is_cut() -> None:
    bench = Bench()
    await left(bench)
    ((session, outcome),) = bench.hooks[0].settled
    assert outcome is session.outcome is Outcome.CLIENT_GONE
    assert slots(bench) == (0, 1)
