"""Sessions that clients reserve at orchd itself: one slot each, and all of it taken back whatever breaks off."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from orchd.domain.model import StreamSpec
from orchd.domain.outcomes import Outcome
from orchd.domain.phases import StreamPhase
from orchd.domain.sold import EndWord
from orchd.errors import Code, JobRefused, StoreError
from orchd.hooks.hook import Waits
from orchd.hooks.job import Job
from orchd.hooks.refusal import Refusal
from orchd.realtime.routes import StreamCall
from orchd.sold.live import LiveSession
from tests.fakes.streams import FakeContainers
from tests.jobs.fakes import Bench, Charging, FakeHook
from tests.jobs.messages import request
from tests.jobs.model import KEY, a_model, runner_of
from tests.relay.transport import FakeTransport
from tests.virtual_time import virtual_time

MODEL = a_model(persistent=True)
SLUG = f"/s/{KEY.slug}"
PAYER = "0x" + "1" * 40


class Paid(FakeHook):
    """Takes a payment for the manifest that the header names."""

    def identify(self, job: Job) -> Waits:
        if not job.in_session and (manifest := job.header(b"manifest")) is not None:
            job.set_payer(PAYER)
            job.name_session(manifest.decode())
        return super().identify(job)


class PaidCharging(Paid, Charging):
    pass


def a_bench(**knobs: Any) -> Bench:
    return Bench(**{"models": (MODEL,), "hooks": [Paid()]} | knobs)


def reserve(manifest: str = "m1", *, body: bytes = b"{}") -> bytes:
    return request(*([("Manifest", manifest)] if manifest else []), target=f"{SLUG}/session", body=body)


def app(session: str = "m1", path: str = "/x") -> bytes:
    return request(target=f"{SLUG}/session/{session}/app{path}", body=b"{}")


async def reserved(bench: Bench, manifest: str = "m1") -> LiveSession:
    """Return a session that was reserved."""
    caller = await bench.serve(reserve(manifest))
    assert caller.messages[0].status == 200
    session = bench.sold.find(caller.messages[0].body.decode())
    assert session is not None
    return session


def nothing_is_left(bench: Bench) -> None:
    assert bench.table.active(KEY) == 0
    assert [*bench.keeper.streams] == []
    assert bench.sold.all() == []


@virtual_time
async def test_a_reserved_session_holds_a_slot_and_is_on_the_disk() -> None:
    bench = a_bench()
    session = await reserved(bench)
    assert (session.id, session.payer, session.pending, session.fixed) == ("m1", PAYER, False, False)
    assert bench.table.active(KEY) == 1
    stream = bench.keeper.streams.find(KEY, "m1")
    assert stream is not None
    assert stream.phase is StreamPhase.HELD
    (stored,) = await bench.keeper._records._store.streams()
    assert (stored.id, stored.origin, stored.started) == ("m1", "sold", False)
    assert stream.session.account is not None
    assert bench.sold.of_account(stream.session.account.id) is session
    assert bench.network.requests == []


@virtual_time
async def test_a_free_session_gets_an_id_that_nobody_can_guess() -> None:
    bench = a_bench()
    caller = await bench.serve(reserve(""))
    name = caller.messages[0].body.decode()
    assert name.startswith("session_")
    assert len(name) == len("session_") + 16
    session = bench.sold.find(name)
    assert session is not None
    assert session.payer == ""


@virtual_time
async def test_requests_ride_on_the_session_and_the_runner_is_told_of_it_and_of_no_other() -> None:
    bench = a_bench()
    session = await reserved(bench)
    caller = await bench.serve(app())
    assert caller.messages[0].status == 200
    (seen,) = bench.network.requests
    assert seen.header("Livepeer-Session-Id") == "m1"
    assert seen.header("Livepeer-Runner-Route") == KEY.slug
    assert seen.header("Livepeer-Session-Token") == bench.sold.token(session).value
    assert bench.table.active(KEY) == 1


@virtual_time
async def test_a_request_in_a_session_that_there_is_not_gets_404() -> None:
    bench = a_bench()
    caller = await bench.serve(app("nobody"))
    assert caller.messages[0].status == 404
    nothing_is_left(bench)


@virtual_time
async def test_the_last_slot_goes_to_one_of_two_and_the_other_is_refused_before_anything_is_taken() -> None:
    bench = a_bench()
    first, second = bench.caller(reserve("m1")), bench.caller(reserve("m2"))
    await bench.idle()
    assert [each.messages[0].status for each in (first, second)] == [200, 503]
    assert bench.codes == [Code.CAPACITY_EXHAUSTED]
    assert [job.session_id for job in bench.hooks[0].admitted] == ["m1"]
    assert bench.sold.find("m2") is None


@virtual_time
async def test_a_manifest_whose_session_lives_is_refused_before_anything_is_taken() -> None:
    bench = a_bench(models=(a_model(persistent=True, max_sessions=2),))
    hook = bench.hooks[0]
    hook.waits.add("admit")
    first, second = bench.caller(reserve("m1")), bench.caller(reserve("m1"))
    await bench.idle()
    assert [each.messages[0].status for each in (first, second)] == [200, 409]
    assert len(hook.admitted) == 1
    assert bench.table.active(KEY) == 1


@virtual_time
async def test_a_cold_model_is_started_and_the_client_is_told_to_come_back() -> None:
    bench = a_bench(is_open=False)
    bench.cold()
    caller = await bench.serve(reserve())
    assert caller.messages[0].status == 503
    assert caller.messages[0].header("Retry-After") == "5"
    assert bench.hooks[0].admitted == []
    assert bench.table.awaited(KEY), "nobody waits in the queue, and it is started all the same"
    assert (bench.table.waiting(KEY), bench.table.free(KEY)) == (0, 1)
    bench.open()
    assert not bench.table.awaited(KEY)
    await reserved(bench)


@virtual_time
async def test_a_refused_payment_gives_everything_back() -> None:
    bench = a_bench()
    bench.hooks[0].fails["admit"] = JobRefused(Code.PAYMENT_REQUIRED, "cannot begin: no")
    caller = await bench.serve(reserve())
    assert caller.messages[0].status == 402
    nothing_is_left(bench)


class FullStore:
    """Can't keep a stream."""

    async def streams(self) -> tuple[()]:
        return ()

    async def save_stream(self, stream: object) -> None:
        raise StoreError("cannot write: the disk is full")

    async def forget_stream(self, key: object, id: str) -> None:
        """There is none."""


@virtual_time
async def test_a_session_that_can_not_be_kept_over_a_restart_does_not_begin() -> None:
    bench = a_bench(store=FullStore())
    caller = await bench.serve(reserve())
    assert caller.messages[0].status == 503
    await bench.idle()
    nothing_is_left(bench)


class SlowStore(FullStore):
    """Keeps a stream when it is told to."""

    def __init__(self) -> None:
        self.may = asyncio.Event()

    async def save_stream(self, stream: object) -> None:
        await self.may.wait()


@virtual_time
async def test_nothing_is_served_in_a_session_before_its_time_counts() -> None:
    store = SlowStore()
    bench = a_bench(store=store)
    reserving = bench.caller(reserve())
    await bench.settle()
    early = bench.caller(app())
    await bench.settle()
    assert (early.messages[0].status, bench.network.requests) == (503, [])
    store.may.set()
    await bench.settle()
    assert reserving.messages[0].status == 200
    assert (await bench.serve(app())).messages[0].status == 200


@pytest.mark.parametrize("how", ["leave", "abort"])
def test_whoever_leaves_at_whatever_step_has_a_session_or_nothing(how: str) -> None:
    @virtual_time
    async def run() -> None:
        seen = set()
        for step in range(40):
            bench = a_bench()
            bench.hooks[0].waits |= {"identify", "admit", "settle"}
            caller = bench.caller(reserve())
            for _ in range(step):
                await asyncio.sleep(0)
            caller.lose() if how == "leave" else bench.handler.abort_all("a rehearsal")
            await bench.idle()
            session = bench.sold.find("m1")
            seen.add(session is not None)
            if how == "abort":
                assert (caller.messages[0].status == 200) is (session is not None)
            if session is None:
                nothing_is_left(bench)
                assert await bench.keeper._records._store.streams() == ()
            else:
                assert (bench.table.active(KEY), session.pending, session.ending) == (1, False, False)
                assert len(await bench.keeper._records._store.streams()) == 1
        assert seen == {True, False}

    run()


@virtual_time
async def test_a_session_ends_once_however_often_it_is_told_to() -> None:
    bench = a_bench()
    session = await reserved(bench)
    ended: list[tuple[str, str]] = []
    bench.sold.ended.connect(lambda session, why: ended.append((session.id, why)))
    session.end(Outcome.OK, "its client has stopped it")
    session.end(Outcome.TIMEOUT, "again")
    await bench.idle()
    assert ended == [("m1", "its client has stopped it")]
    nothing_is_left(bench)
    assert bench.sold.was_here("m1")
    assert not bench.sold.was_here("m2")
    assert [outcome for _, outcome in bench.hooks[0].settled] == [Outcome.OK]
    assert await bench.keeper._records._store.streams() == ()
    await reserved(bench)


def stopped(bench: Bench, session: LiveSession) -> None:
    session.end(Outcome.OK, "its client has stopped it", EndWord.STOPPED)


def unused(bench: Bench, session: LiveSession) -> None:
    session.end(Outcome.TIMEOUT, "nobody has used it for 60 s", EndWord.IDLE)


def unpaid(bench: Bench, session: LiveSession) -> None:
    bench.hooks[0].fails["charge"] = Refusal(402, "cannot go on: its credit is used up", reason="credit_gone")


def silent(bench: Bench, session: LiveSession) -> None:
    session.end(Outcome.TIMEOUT, "its client has sent nothing for 30 s")


@pytest.mark.parametrize(
    ("end", "word"),
    [(stopped, "session_stopped"), (unused, "session_idle"), (unpaid, "credit_gone"), (silent, "session_ended")],
)
def test_the_end_of_a_session_cuts_what_is_under_way_in_it_and_says_what_it_was(
    end: Callable[[Bench, LiveSession], None], word: str
) -> None:
    @virtual_time
    async def run() -> None:
        bench = a_bench(hooks=[PaidCharging()])
        bench.network.reply = None
        session = await reserved(bench)
        caller = bench.caller(app())
        await bench.settle()
        assert bench.network.requests
        end(bench, session)
        await asyncio.sleep(2)
        await bench.idle()
        (message,) = caller.messages
        assert (message.status, message.header("Livepeer-Error")) == (503, word)
        assert json.loads(message.body)["error"] == word
        (line,) = bench.log.lines
        assert (line["code"], line["error"], line["status"]) == ("session_ended", word, 503)
        assert bench.table.active(KEY) == 1, "its runner is still at work"
        bench.network.end.lose()
        await bench.settle()
        nothing_is_left(bench)

    run()


@virtual_time
async def test_a_session_that_nobody_uses_ends_and_one_that_is_topped_up_does_not() -> None:
    bench = a_bench(models=(a_model(persistent=True, session_idle_s=30.0, max_sessions=2),))
    idle, topped_up = await reserved(bench, "m1"), await reserved(bench, "m2")
    for _ in range(31):
        await asyncio.sleep(1)
        bench.sold.touch(topped_up)
        bench.sold.look()
    await bench.idle()
    assert (idle.ending, topped_up.ending) == (True, False)
    assert bench.table.active(KEY) == 1


@virtual_time
async def test_bytes_in_its_channels_keep_a_session_alive_and_time_in_which_orchd_stood_still_does_not_end_it() -> None:
    bench, clock = a_bench(models=(a_model(persistent=True, session_idle_s=5.0),)), asyncio.get_running_loop().time
    session = await reserved(bench)
    for _ in range(20):
        await asyncio.sleep(1)
        bench.moved_at["m1"] = clock()
        bench.sold.look()
    assert not session.ending
    bench.lost_s = 10.0
    await asyncio.sleep(14)
    bench.sold.look()
    assert not session.ending
    await asyncio.sleep(2)
    bench.sold.look()
    assert session.ending
    await bench.idle()


@virtual_time
async def test_a_request_under_way_keeps_its_session_alive_and_so_do_bytes() -> None:
    bench = a_bench(models=(a_model(persistent=True, session_idle_s=5.0),), between_bytes_timeout_s=1000)
    bench.network.reply = None
    session = await reserved(bench)
    bench.caller(app())
    for _ in range(60):
        await asyncio.sleep(1)
        bench.sold.look()
    assert not session.ending
    bench.network.reply = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    await bench.idle()
    for _ in range(4):
        await asyncio.sleep(1)
        bench.sold.look()
    assert not session.ending
    await asyncio.sleep(2)
    bench.sold.look()
    assert session.ending
    await bench.idle()


@virtual_time
async def test_only_the_time_in_which_the_runner_serves_is_counted() -> None:
    bench = a_bench()
    session = await reserved(bench)
    await asyncio.sleep(3)
    assert bench.sold.served_ns(session) == 3 * 10**9
    bench.runners.unserved.add(runner_of(KEY))
    bench.sold.look()
    await asyncio.sleep(5)
    bench.runners.unserved.clear()
    bench.sold.look()
    await asyncio.sleep(2)
    assert bench.sold.served_ns(session) == 5 * 10**9
    session.end(Outcome.OK, "")
    await bench.idle()
    await asyncio.sleep(7)
    assert bench.sold.served_ns(session) == 5 * 10**9


@virtual_time
async def test_a_single_shot_job_is_a_session_while_it_runs() -> None:
    bench = a_bench(models=(a_model(),))
    bench.network.reply = None
    caller = bench.caller(request(("Manifest", "m1"), target=f"{SLUG}/app/image", body=b"x"))
    await bench.settle()
    session = bench.sold.find("m1")
    assert session is not None
    assert (session.persistent, session.pending, session.payer) == (False, False, PAYER)
    assert bench.network.requests[0].header("Livepeer-Session-Id") == "m1"
    session.end(Outcome.OK, "its client has stopped it", EndWord.STOPPED)
    await bench.idle()
    assert (caller.messages[0].status, caller.messages[0].header("Livepeer-Error")) == (503, "session_stopped")
    bench.network.end.lose()
    await bench.settle()
    nothing_is_left(bench)
    assert bench.sold.was_here("m1")


@virtual_time
async def test_two_single_shot_jobs_with_the_same_head_are_two_sessions() -> None:
    bench = a_bench(models=(a_model(),))
    for _ in range(2):
        await bench.serve(request(target=f"{SLUG}/app/image", body=b"x"))
    first, second = bench.network.requests
    assert first.header("Livepeer-Session-Id") != second.header("Livepeer-Session-Id")
    nothing_is_left(bench)


@virtual_time
async def test_a_request_that_comes_too_late_for_a_session_that_is_ending_changes_nothing() -> None:
    bench = a_bench(models=(a_model(persistent=True, stream=StreamSpec(post_starts_stream=True)),))
    session = await reserved(bench)
    await bench.serve(request(target=f"{SLUG}/session/m1/app/stream/start", body=b"{}"))
    containers = bench.keeper.containers
    assert isinstance(containers, FakeContainers)
    containers.gates[StreamCall.STOP] = asyncio.Event()
    session.end(Outcome.OK, "its client has stopped it")
    await bench.settle()
    late = await bench.serve(app())
    assert late.messages[0].status == 404
    assert (bench.sold.find("m1"), session.ending) == (session, True)
    containers.gates[StreamCall.STOP].set()
    await bench.idle()
    nothing_is_left(bench)


@virtual_time
async def test_a_session_ends_when_its_runner_goes() -> None:
    bench = a_bench()
    await reserved(bench)
    bench.table.close(runner_of(KEY), Code.DRAINING, "it drains")
    bench.table.abort(runner_of(KEY), "its drain is over")
    await bench.idle()
    nothing_is_left(bench)
    caller: FakeTransport = await bench.serve(app())
    assert caller.messages[0].status == 404


@virtual_time
async def test_a_single_shot_job_of_a_cold_model_is_not_made_to_wait() -> None:
    bench = a_bench(models=(a_model(),), is_open=False)
    bench.cold()
    caller = await bench.serve(request(("Manifest", "m1"), target=f"{SLUG}/app/image", body=b"x"))
    assert (caller.messages[0].status, caller.messages[0].header("Retry-After")) == (503, "5")
    assert bench.hooks[0].admitted == []
    assert bench.table.awaited(KEY)
    nothing_is_left(bench)


@virtual_time
async def test_another_request_joins_a_job_that_is_a_session_takes_no_slot_and_ends_with_it() -> None:
    bench = a_bench(models=(a_model(),), hooks=[PaidCharging()])
    bench.network.reply = None
    bench.caller(request(("Manifest", "m1"), target=f"{SLUG}/app/image", body=b"x"))
    await bench.settle()
    joined, left = bench.caller(app()), bench.caller(app(path="/y"))
    await bench.settle()
    assert (len(bench.network.requests), bench.table.active(KEY)) == (3, 1)
    left.lose()
    await bench.settle()
    assert (bench.table.running_on(runner_of(KEY)), bench.sold.find("m1")) == (1, bench.sold.find("m1"))
    bench.network.ends[0].say(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    await bench.idle()
    assert joined.messages[0].status == 503
    assert len(bench.hooks[0].settled) == 1
    for end in bench.network.ends:
        end.lose()
    await bench.settle()
    nothing_is_left(bench)


@virtual_time
async def test_nobody_joins_a_job_that_is_still_being_paid_for() -> None:
    bench = a_bench(models=(a_model(),))
    bench.hooks[0].hangs.add("admit")
    paying = bench.caller(request(("Manifest", "m1"), target=f"{SLUG}/app/image", body=b"x"))
    await bench.settle()
    session = bench.sold.find("m1")
    assert session is not None
    assert session.pending
    assert (await bench.serve(app())).messages[0].status == 404
    assert bench.network.requests == []
    paying.lose()
    await bench.idle()
    nothing_is_left(bench)


@virtual_time
async def test_who_connects_hears_of_each_session_that_it_began_that_its_end_begins_and_that_it_has_ended() -> None:
    bench = a_bench()
    heard: list[str] = []
    bench.sold.began.connect(lambda session: heard.append(f"began {session.id}"))
    bench.sold.ending.connect(lambda session, why: heard.append(f"ending: {why}, {bench.sold.find('m1') is session}"))
    bench.sold.ended.connect(lambda session, why: heard.append(f"ended: {why}, {bench.sold.find('m1')}"))
    await reserved(bench)
    stream = bench.keeper.streams.find(KEY, "m1")
    assert stream is not None
    bench.keeper.end_soon(stream, Outcome.ABORTED, "its credit is used up")
    await bench.idle()
    assert heard == ["began m1", "ending: its credit is used up, True", "ended: its credit is used up, None"]


def test_a_session_that_is_ended_at_whatever_step_leaves_nothing() -> None:
    @virtual_time
    async def run() -> None:
        seen = set()
        for step in range(40):
            bench = a_bench()
            bench.hooks[0].waits |= {"identify", "admit"}
            bench.caller(reserve())
            for _ in range(step):
                await asyncio.sleep(0)
            if (session := bench.sold.find("m1")) is not None:
                seen.add(session.pending)
                session.end(Outcome.OK, "its client has stopped it")
                await bench.idle()
                nothing_is_left(bench)
            else:
                await bench.idle()
        assert seen == {True, False}

    run()
