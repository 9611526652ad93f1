"""One job's way, decision by decision: the real server between two ends that the test holds. Time is virtual."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
import structlog

from orchd.domain.ids import ModelKey
from orchd.domain.model import ExternalLaunch, InferenceSpec, Secret
from orchd.domain.outcomes import Outcome
from orchd.doors.routes import READ_AHEAD_BYTES
from orchd.errors import Code, JobRefused
from orchd.hooks.hook import Waits
from orchd.hooks.job import Job
from orchd.tasks import spawn
from tests.jobs.fakes import Bench, Charging, FakeHook, session_of
from tests.jobs.messages import ONE, SWITCHED, UPGRADE, answer, refused, request
from tests.jobs.model import ADDRESS, KEY, a_model, runner_of
from tests.relay.transport import FakeTransport
from tests.virtual_time import stand_still, virtual_time

OTHER = ModelKey("image", "org/two")
NO = JobRefused(Code.FORBIDDEN, "cannot serve you")
HANGING = answer(b"x" * 100)[:-60]
"""An answer that does not end."""


def code_of(caller: FakeTransport) -> Code:
    (message,) = caller.messages
    return refused(message)


def now() -> float:
    return asyncio.get_running_loop().time()


@virtual_time
async def test_a_job_passes_both_ways_and_settles_once() -> None:
    bench = Bench()
    caller = await bench.serve(request(("Livepeer-Request-Id", "mine"), ("X-A", "1"), body=b"ab"))
    (got,) = caller.messages
    assert (got.status, got.body, got.header("Livepeer-Request-Id")) == (200, b"answer", "mine")
    (asked,) = bench.network.requests
    assert (asked.first, asked.body, asked.header("X-A")) == ("POST /image HTTP/1.1", b"ab", "1")
    (hook,) = bench.hooks
    assert [outcome for _, outcome in hook.settled] == [Outcome.OK]
    assert hook.identified == hook.admitted
    assert bench.outcomes == ["ok"]
    assert bench.hurried == []


@virtual_time
async def test_the_order_is_identify_slot_admit_continue_request_settle() -> None:
    seen: list[str] = []

    class Noting(FakeHook):
        def does(self, call: str, session: object = None) -> Waits:
            seen.append(f"{call}:{bench.table.active(KEY)}:{len(caller.sent) > 0}:{len(bench.network.dialled)}")
            return super().does(call)

    bench = Bench(hooks=[Noting()])
    caller = bench.caller()
    head, body = request(("Expect", "100-continue"), body=b"abc").split(b"\r\n\r\n")
    caller.say(head + b"\r\n\r\n")
    assert caller.sent == b"HTTP/1.1 100 Continue\r\n\r\n"
    caller.say(body)
    await bench.idle()
    assert seen == ["identify:0:False:0", "admit:1:False:0", "settle:0:True:1"]


@virtual_time
async def test_a_job_with_nothing_to_wait_for_waits_for_no_turn_of_the_loop_but_to_send() -> None:
    bench = Bench()
    await bench.serve(request())
    caller = bench.caller(request(body=b"ab"))
    await asyncio.sleep(0)
    bench.network.turn()
    assert bench.outcomes == ["ok", "ok"]
    await asyncio.sleep(0)
    assert caller.messages[0].body == b"answer"


@virtual_time
async def test_the_runners_own_answer_passes_whatever_its_status() -> None:
    bench = Bench()
    for status in (201, 302, 401, 404, 499, 500, 503, 599, 600, 999):
        bench.network.reply = answer(b"its own", ("WWW-Authenticate", "Basic"), status=status)
        (got,) = (await bench.serve(request())).messages
        assert (got.status, got.body, got.header("Livepeer-Error")) == (status, b"its own", None)
        assert bench.log.lines[-1]["outcome"] == bench.outcomes[-1]
        assert bench.log.lines[-1]["status"] == bench.metrics.statuses[-1] == status
    assert bench.outcomes == ["ok"] * 5 + ["runner_error"] * 3 + ["ok"] * 2
    assert [str(outcome) for _, outcome in bench.hooks[0].settled] == bench.outcomes
    assert bench.codes == [""] * 10
    assert len(bench.network.dialled) == 1, "a connection on which a whole answer came is kept"


@virtual_time
async def test_an_error_of_the_runners_that_breaks_off_is_a_broken_answer() -> None:
    bench = Bench()
    bench.network.reply = answer(b"x" * 100, status=500)[:-60]
    caller = bench.caller(request())
    await bench.settle()
    bench.network.end.finish()
    await bench.idle()
    assert caller.lost
    assert (bench.outcomes, bench.codes) == (["backend_failed"], ["backend_broke"])


@virtual_time
async def test_the_entrys_token_goes_along() -> None:
    bench = Bench(models=(a_model(token=Secret("t0p")),))
    await bench.serve(request(("Authorization", "Bearer the caller's")))
    assert bench.network.requests[0].header("Authorization") == "Bearer t0p"


CLIMBING = [
    "/../admin",
    "/%2e%2e/admin",
    "/..%2fadmin",
    "/%252e%252e/admin",
    "/..\\admin",
    "/a/../../admin",
    "/..;/admin",
]


@pytest.mark.parametrize("path", CLIMBING)
@pytest.mark.parametrize("prefix", ["", "http://orchd.test"])
def test_no_path_leaves_the_base_path_of_an_external_runner_or_climbs_with_its_token(path: str, prefix: str) -> None:
    @virtual_time
    async def run() -> None:
        based = ExternalLaunch(ADDRESS._replace(base_path="/v1/tenant"))
        for model in (a_model(token=Secret("t0p")), a_model(launch=based), a_model(launch=based, token=Secret("t0p"))):
            bench = Bench(models=(model,))
            for door in (ONE, f"/byoc/{KEY.slug}", f"/live/{KEY.slug}/proof"):
                for method in ("POST", "GET"):
                    asked = request(target=f"{prefix}{door}{path}?x=/../y", method=method)
                    assert code_of(await bench.serve(asked)) is Code.BAD_REQUEST
            assert bench.network.dialled == []
            assert bench.table.active(KEY) == 0
            assert (await bench.serve(request(target=f"{ONE}/a/../b//c?x=/../y"))).messages[0].status == 200
            assert bench.network.requests[-1].first.split()[1].endswith("/a/../b//c?x=/../y"), "what stays below passes"

    run()


@virtual_time
async def test_a_path_that_must_be_read_closely_is_of_bounded_length() -> None:
    long = "/a%2e" * 1000
    for model in (a_model(token=Secret("t0p")), a_model(launch=ExternalLaunch(ADDRESS._replace(base_path="/v1")))):
        bench = Bench(models=(model,))
        assert code_of(await bench.serve(request(target=ONE + long))) is Code.BAD_REQUEST
        assert bench.network.dialled == []
    bench = Bench()
    assert code_of(await bench.serve(request(target=f"/byoc/{KEY.slug}{long}"))) is Code.BAD_REQUEST
    assert (await bench.serve(request(target=f"{ONE}{long}"))).messages[0].status == 200
    assert (await bench.serve(request(target=f"/byoc/{KEY.slug}/x?{long}"))).messages[0].status == 200


@virtual_time
async def test_without_base_path_and_token_a_path_is_the_containers_own() -> None:
    bench = Bench()
    for path in CLIMBING:
        assert (await bench.serve(request(target=ONE + path))).messages[0].status == 200
        assert bench.network.requests[-1].first == f"POST {path} HTTP/1.1"


@virtual_time
async def test_a_path_that_looks_like_another_host_stays_a_path() -> None:
    bench = Bench(models=(a_model(token=Secret("t0p")),))
    for path in ("//evil.test/x", "/http://evil.test/x", "/@evil.test/x"):
        assert (await bench.serve(request(target=ONE + path))).messages[0].status == 200
        assert bench.network.requests[-1].first == f"POST {path} HTTP/1.1"
        assert bench.network.requests[-1].header("Host") == f"{ADDRESS.host}:{ADDRESS.port}"
    assert set(bench.network.dialled) == {(ADDRESS.host, ADDRESS.port)}


@virtual_time
async def test_a_head_that_came_before_still_means_what_it_meant() -> None:
    bench = Bench()
    for body in (b"one", b"two"):
        await bench.serve(request(body=body))
    bench.models = {KEY: a_model(token=Secret("t0p"), inference=InferenceSpec("/elsewhere"))}
    await bench.serve(request(body=b"six"))
    bench.models = {}
    assert code_of(await bench.serve(request(body=b"ten"))) is Code.UNKNOWN_MODEL
    assert [asked.body for asked in bench.network.requests] == [b"one", b"two", b"six"]
    assert bench.network.requests[-1].first == "POST /elsewhere HTTP/1.1", "the models changed, and so did the way"
    assert bench.network.requests[-1].header("Authorization") == "Bearer t0p"


@virtual_time
async def test_full_is_503_and_room_comes_back_with_the_end() -> None:
    bench = Bench()
    bench.network.reply = None
    first = bench.caller(request())
    await bench.settle()
    assert code_of(bench.caller(request())) is Code.CAPACITY_EXHAUSTED
    first.lose()
    await bench.idle()
    assert "(0 run, 1 letting go)" in bench.caller(request()).messages[0].body.decode()
    bench.network.end.finish()
    await bench.idle()
    bench.network.reply = answer()
    assert (await bench.serve(request())).messages[0].status == 200
    assert bench.outcomes == ["refused", "client_gone", "refused", "ok"]


@virtual_time
async def test_a_slot_is_free_in_the_step_in_which_the_answer_ends() -> None:
    bench = Bench()
    bench.network.reply = None
    caller = bench.caller(request())
    await bench.settle()
    bench.network.end.say(answer()[:-1])
    assert bench.table.active(KEY) == 1
    bench.network.end.say(answer()[-1:])
    assert caller.messages[0].end is not None
    assert bench.table.active(KEY) == 0, "whoever sees the end may begin at once"


@virtual_time
async def test_a_slot_is_kept_until_the_caller_has_all_of_the_answer() -> None:
    bench = Bench()
    caller = bench.caller(room=10)
    caller.say(request())
    await bench.settle()
    assert bench.table.active(KEY) == 1
    caller.take()
    assert bench.table.active(KEY) == 0
    assert caller.messages[0].body == b"answer"
    assert bench.outcomes == ["ok"]


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("call", ["identify", "admit"])
def test_a_hook_refuses_with_its_code(call: str, waits: bool) -> None:
    @virtual_time
    async def run() -> None:
        hook = FakeHook(fails={call: NO}, waits={call} if waits else set())
        bench = Bench(hooks=[hook])
        assert code_of(await bench.serve(request())) is Code.FORBIDDEN
        assert bench.network.dialled == []
        assert len(hook.settled) == (call == "admit"), "a session, then an account"
        assert bench.outcomes == ["refused"]

    run()


@pytest.mark.parametrize("how", ["raises", "waits and raises", "hangs"])
@pytest.mark.parametrize("call", ["identify", "admit"])
def test_a_hook_that_raises_or_hangs_refuses_with_503(call: str, how: str) -> None:
    @virtual_time
    async def run() -> None:
        first, second = FakeHook(), FakeHook()
        if how == "hangs":
            first.hangs = {call}
        else:
            first.fails = {call: ValueError("s3cret")}
            first.waits = {call} if "waits" in how else set()
        bench = Bench(hooks=[first, second])
        with structlog.testing.capture_logs():
            caller = await bench.serve(request())
        assert code_of(caller) is Code.HOOK_FAILED
        assert b"s3cret" not in caller.sent
        asked = second.identified if call == "identify" else second.admitted
        assert asked == [], "the first no ends it"
        assert first.settled == second.settled
        assert [outcome for _, outcome in first.settled] == ([Outcome.REFUSED] if call == "admit" else [])

    run()


@virtual_time
async def test_hooks_that_wait_and_hooks_that_do_not_are_asked_in_their_order() -> None:
    order: list[str] = []

    class Named(FakeHook):
        def __init__(self, name: str, waits: set[str]) -> None:
            super().__init__(waits=waits)
            self.name = name

        def does(self, call: str, session: object = None) -> Waits:
            order.append(f"{call} {self.name}")
            return super().does(call)

    every = {"identify", "admit", "settle"}
    bench = Bench(hooks=[Named("a", set()), Named("b", every), Named("c", set()), Named("d", every)])
    assert (await bench.serve(request())).messages[0].status == 200
    assert order == [f"{call} {name}" for call in ("identify", "admit", "settle") for name in "abcd"]


@pytest.mark.parametrize("how", ["raises", "waits and raises", "hangs"])
def test_a_settle_that_fails_is_logged_and_the_next_hook_is_settled(how: str) -> None:
    @virtual_time
    async def run() -> None:
        first, second = FakeHook(), FakeHook()
        if how == "hangs":
            first.hangs = {"settle"}
        else:
            first.fails = {"settle": ValueError("no")}
            first.waits = {"settle"} if "waits" in how else set()
        bench = Bench(hooks=[first, second])
        with structlog.testing.capture_logs() as logs:
            caller = await bench.serve(request())
        assert caller.messages[0].status == 200
        assert [len(hook.settled) for hook in bench.hooks] == [1, 1]
        assert "settle_failed" in [line["event"] for line in logs]

    run()


@pytest.mark.parametrize("waits", [False, True])
def test_hooks_are_charged_from_time_to_time_and_can_end_the_session(waits: bool) -> None:
    @virtual_time
    async def run() -> None:
        hook = Charging(waits={"charge"} if waits else set())
        bench = Bench(hooks=[hook])
        bench.network.reply = HANGING
        caller = bench.caller(request())
        await bench.settle()
        await asyncio.sleep(3.5)
        assert hook.charged == pytest.approx([1.0, 2.0, 3.0], abs=0.1)
        hook.fails["charge"] = JobRefused(Code.FORBIDDEN, "cannot go on: nothing is left")
        await bench.idle()
        assert caller.socket.resets, "the answer had begun"
        assert bench.outcomes == ["aborted"]
        assert [outcome for _, outcome in hook.settled] == [Outcome.ABORTED]

    run()


@virtual_time
async def test_no_charge_before_admission_and_no_settling_while_a_charge_runs() -> None:
    hook = Charging(hangs={"admit"})
    bench = Bench(hooks=[hook])
    await bench.serve(request())
    assert hook.charged == []
    hook.hangs = {"charge"}
    bench.network.reply = None
    caller = bench.caller(request())
    await asyncio.sleep(1.5)
    assert len(hook.charged) == 1
    caller.lose()
    await bench.settle()
    assert bench.table.running(KEY) == 0, "the end does not wait for hooks"
    assert len(hook.settled) == 1
    await bench.idle()
    assert len(hook.settled) == 2


@virtual_time
async def test_a_job_cut_while_it_is_admitted_is_settled_when_that_call_has_ended() -> None:
    ended = asyncio.Event()

    class Stubborn(FakeHook):
        async def wait(self, call: str) -> None:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                await ended.wait()
                raise

    hook = Stubborn(waits={"admit"})
    bench = Bench(hooks=[hook])
    caller = bench.caller(request())
    await bench.settle()
    caller.lose()
    await bench.settle()
    assert bench.table.active(KEY) == 0
    assert bench.outcomes == ["client_gone"]
    assert hook.settled == []
    ended.set()
    await bench.idle()
    assert [outcome for _, outcome in hook.settled] == [Outcome.CLIENT_GONE]


@virtual_time
async def test_a_cold_model_holds_the_job_until_it_is_ready() -> None:
    bench = Bench(is_open=False)
    bench.cold()
    caller = bench.caller(request(("Expect", "100-continue"), body=b"abc")[:-3])
    await asyncio.sleep(5)
    assert bench.wanted == [KEY]
    assert bench.hooks[0].identified, "only an identified job starts a model"
    assert bench.hooks[0].admitted == []
    assert caller.sent == b"", "its body is not asked for yet"
    bench.open()
    await bench.settle()
    caller.say(b"abc")
    await bench.idle()
    assert [message.status for message in caller.messages] == [100, 200]
    ((_, outcome, _, _, held_s),) = bench.metrics.jobs
    assert outcome == "ok"
    assert held_s == pytest.approx(5.0)


@virtual_time
async def test_a_held_job_gives_up_at_the_deadline() -> None:
    bench = Bench(is_open=False)
    bench.cold()
    assert code_of(await bench.serve(request())) is Code.HOLD_TIMEOUT
    assert now() == pytest.approx(20, abs=0.2)
    assert bench.table.waiting(KEY) == 0


@virtual_time
async def test_a_job_that_is_not_identified_starts_nothing() -> None:
    bench = Bench(is_open=False, hooks=[FakeHook(fails={"identify": NO})])
    bench.cold()
    assert code_of(await bench.serve(request())) is Code.FORBIDDEN
    assert bench.wanted == []


@virtual_time
async def test_the_slot_that_opens_as_its_caller_leaves_comes_back() -> None:
    for leaves_first in (False, True):
        bench = Bench(is_open=False)
        bench.cold()
        caller = bench.caller(request())
        await bench.settle()
        for step in (caller.lose, bench.open) if leaves_first else (bench.open, caller.lose):
            step()
        await bench.idle()
        assert bench.table.active(KEY) == bench.table.waiting(KEY) == 0
        assert {outcome for _, outcome in bench.hooks[0].settled} <= {Outcome.CLIENT_GONE}
        assert bench.outcomes == ["client_gone"]


def runner_closes(bench: Bench) -> None:
    bench.network.end.finish()


def runner_resets(bench: Bench) -> None:
    bench.network.end.lose()


def runner_talks_nonsense(bench: Bench) -> None:
    bench.network.end.say(b"SSH-2.0-OpenSSH_9\r\n\r\n")


def body_is_broken(bench: Bench) -> None:
    bench.callers[-1].say(b"no size\r\n")


@pytest.mark.parametrize(
    ("happens", "code", "outcome"),
    [
        (runner_closes, Code.BACKEND_BROKE, "backend_failed"),
        (runner_resets, Code.BACKEND_BROKE, "backend_failed"),
        (runner_talks_nonsense, Code.BACKEND_BROKE, "backend_failed"),
        (body_is_broken, Code.BAD_REQUEST, "refused"),
    ],
)
def test_what_fails_before_the_answer_gets_an_answer(
    happens: Callable[[Bench], None], code: Code, outcome: str
) -> None:
    @virtual_time
    async def run() -> None:
        bench = Bench()
        bench.network.reply = None
        caller = bench.caller(request(chunks=[b"abc"])[:-5])
        await bench.settle()
        happens(bench)
        await bench.idle()
        assert code_of(caller) is code
        assert bench.outcomes == [outcome]
        assert bench.hurried == ([runner_of(KEY)] if outcome == "backend_failed" else [])
        bench.network.end.finish()
        await bench.settle()
        assert bench.table.active(KEY) == 0
        assert bench.network.end.lost, "no connection to the runner is kept"

    run()


@virtual_time
async def test_no_connection_is_502() -> None:
    bench = Bench()
    for fails in (ConnectionRefusedError(111, "refused"), OSError("no such name"), UnicodeError("label too long")):
        bench.network.fails = fails
        assert code_of(await bench.serve(request(body=b"abc"))) is Code.BACKEND_UNAVAILABLE
    assert bench.outcomes == ["backend_failed"] * 3
    assert bench.hurried == [runner_of(KEY)] * 3


@pytest.mark.parametrize("reset", [False, True])
def test_a_runner_that_hangs_up_as_soon_as_it_has_taken_the_connection_is_broken(reset: bool) -> None:
    """Its end may come before the job has heard that it is connected."""

    @virtual_time
    async def run() -> None:
        for turns in range(6):
            bench = Bench()
            bench.network.reply = None
            caller = bench.caller(request(body=b"abc"))
            await bench.network.connected()
            for _ in range(turns):
                await asyncio.sleep(0)
            began = now()
            bench.network.end.lose() if reset else bench.network.end.finish()
            await bench.idle()
            assert code_of(caller) in (Code.BACKEND_BROKE, Code.BACKEND_UNAVAILABLE), f"after {turns} turns"
            assert now() - began < 1, "nobody waits for a runner that has gone"

    run()


@virtual_time
async def test_a_body_that_is_broken_in_the_same_read_as_its_head_is_refused_at_once() -> None:
    bench = Bench()
    caller = await bench.serve(request(chunks=[b"abc"])[:-5] + b"no size\r\n")
    assert code_of(caller) is Code.BAD_REQUEST
    assert now() < 1


@virtual_time
async def test_a_bug_of_ours_is_500_and_says_no_more() -> None:
    bench = Bench()
    bench.health = None  # type: ignore[assignment]
    with structlog.testing.capture_logs() as logs:
        caller = await bench.serve(request(target=f"{ONE}/health", method="GET"))
    assert code_of(caller) is Code.INTERNAL
    assert [line["event"] for line in logs] == ["job_crashed"]


@virtual_time
async def test_a_runner_that_stops_reading_may_still_answer() -> None:
    bench = Bench()
    bench.network.reply, bench.network.room = None, 0
    caller = bench.caller(request(body=b"x" * 1000))
    await bench.settle()
    bench.network.end.say(answer())
    await bench.idle()
    assert caller.messages[0].body == b"answer"
    assert bench.outcomes == ["ok"]
    assert bench.network.end.lost, "what is left of the request would be read as the next one"


@pytest.mark.parametrize("reset", [False, True])
def test_a_runner_that_breaks_in_its_answer_breaks_the_callers_connection(reset: bool) -> None:
    @virtual_time
    async def run() -> None:
        bench = Bench()
        bench.network.reply = HANGING
        caller = bench.caller(request())
        await bench.settle()
        bench.network.end.lose() if reset else bench.network.end.finish()
        await bench.idle()
        assert caller.socket.resets
        assert caller.messages[0].end is None
        ((_, outcome, code, _, _),) = bench.metrics.jobs
        assert (outcome, code) == ("backend_failed", Code.BACKEND_BROKE)
        assert bench.hurried == [runner_of(KEY)]

    run()


@virtual_time
async def test_an_answer_that_ends_with_its_connection_is_whole_by_its_end_and_broken_by_a_reset() -> None:
    for reset in (False, True):
        bench = Bench()
        bench.network.reply = b"HTTP/1.1 200 OK\r\n\r\nabc"
        caller = bench.caller(request())
        await bench.settle()
        bench.network.end.lose() if reset else bench.network.end.finish()
        await bench.idle()
        (got,) = caller.messages
        assert got.body == b"abc"
        assert (got.end is None) == reset == caller.socket.resets
        assert bench.outcomes == ["backend_failed" if reset else "ok"]


def connecting(bench: Bench) -> None:
    bench.network.gate = asyncio.Event()


def runner_takes_nothing(bench: Bench) -> None:
    bench.network.reply, bench.network.room = None, 0


def runner_says_nothing(bench: Bench) -> None:
    bench.network.reply = None


def runner_stops(bench: Bench) -> None:
    bench.network.reply = HANGING


def nothing(bench: Bench) -> None:
    pass


LATE = [
    (connecting, 3, Code.BACKEND_CONNECT_TIMEOUT),
    (runner_takes_nothing, 10, Code.BACKEND_TIMEOUT),
    (runner_says_nothing, 10, Code.BACKEND_TIMEOUT),
    (nothing, 7, Code.BODY_STALLED),
    (runner_stops, 7, Code.BACKEND_STALLED),
    (nothing, 7, Code.CALLER_STALLED),
]


@pytest.mark.parametrize(("late", "seconds", "code"), LATE)
def test_whoever_is_late_is_named(late: Callable[[Bench], None], seconds: float, code: Code) -> None:
    @virtual_time
    async def run() -> None:
        bench = Bench(models=(a_model(inference=InferenceSpec("/image", timeout_s=10)),))
        late(bench)
        caller = bench.caller(room=10 if code is Code.CALLER_STALLED else None)
        whole = request(body=b"x" * 100)
        caller.say(whole[:-1] if code is Code.BODY_STALLED else whole)
        await bench.idle()
        assert now() == pytest.approx(seconds, abs=0.2)
        assert bench.codes == [code]
        assert bench.outcomes == ["timeout"]
        begun = code in (Code.BACKEND_STALLED, Code.CALLER_STALLED)
        assert caller.socket.resets == begun
        if not begun:
            assert code_of(caller) is code
        assert bench.hurried == ([runner_of(KEY)] if code.startswith("backend") else [])

    run()


@pytest.mark.parametrize(("late", "seconds", "code"), LATE)
def test_nobody_is_late_for_the_time_in_which_orchd_stood_still(
    late: Callable[[Bench], None], seconds: float, code: Code
) -> None:
    @virtual_time
    async def run() -> None:
        bench = Bench(models=(a_model(inference=InferenceSpec("/image", timeout_s=10)),))
        late(bench)
        caller = bench.caller(room=10 if code is Code.CALLER_STALLED else None)
        whole = request(body=b"x" * 100)
        caller.say(whole[:-1] if code is Code.BODY_STALLED else whole)
        idle = spawn(bench.idle(), name="until all is done")
        await asyncio.sleep(1)
        stand_still(1000)
        await asyncio.sleep(seconds - 1.5)
        assert bench.codes == []
        await idle
        assert bench.codes == [code]
        assert now() == pytest.approx(1000 + seconds, abs=0.4)

    run()


@virtual_time
async def test_a_head_that_came_while_orchd_stood_still_is_not_late() -> None:
    bench = Bench()
    caller = bench.caller(request()[:-2])
    await asyncio.sleep(1)
    stand_still(1000)
    await asyncio.sleep(bench.settings.header_timeout_s - 2)
    caller.say(request()[-2:])
    await bench.idle()
    assert caller.messages[0].status == 200


@virtual_time
async def test_a_slow_upload_is_not_a_slow_runner() -> None:
    bench = Bench(min_body_rate=0, models=(a_model(inference=InferenceSpec("/image", timeout_s=10)),))
    caller = bench.caller(request(body=b"z" * 10)[:-10])
    for _ in range(10):
        await asyncio.sleep(6)
        caller.say(b"z")
    await bench.idle()
    assert caller.messages[0].status == 200


@virtual_time
async def test_a_piece_either_way_keeps_a_two_way_job_alive() -> None:
    bench = Bench(min_body_rate=0)
    bench.network.reply = None
    caller = bench.caller(request(body=b"z" * 20)[:-20])
    await bench.settle()
    bench.network.end.say(HANGING)
    for _ in range(20):
        await asyncio.sleep(6)
        caller.say(b"z")
    bench.network.end.say(b"x" * 60)
    await bench.idle()
    assert caller.messages[0].body == b"x" * 100
    assert bench.network.requests[0].body == b"z" * 20


@virtual_time
async def test_progress_of_a_session_is_its_last_byte() -> None:
    bench = Bench()
    bench.network.reply = HANGING
    await asyncio.sleep(4)
    bench.caller(request())
    await bench.settle()
    await asyncio.sleep(3)
    assert bench.table.progress_at(runner_of(KEY)) == pytest.approx(4, abs=0.1)
    bench.network.end.say(b"x")
    assert bench.table.progress_at(runner_of(KEY)) == pytest.approx(7, abs=0.1)
    await bench.idle()


@pytest.mark.parametrize("sized", [True, False])
def test_too_large_is_413(sized: bool) -> None:
    @virtual_time
    async def run() -> None:
        bench = Bench(models=(a_model(inference=InferenceSpec("/image", max_body_mb=1)),))
        piece = b"x" * 65536
        whole = request(body=piece * 16) if sized else request(chunks=[piece] * 16)
        assert (await bench.serve(whole)).messages[0].status == 200
        bench.network.reply = None
        more = request(body=piece * 17) if sized else request(chunks=[piece] * 17)
        caller = bench.caller()
        for at in range(0, len(more), 50_000):
            caller.say(more[at : at + 50_000])
            await bench.settle()
        await bench.idle()
        assert code_of(caller) is Code.BODY_TOO_LARGE
        assert len(bench.network.requests) == (1 if sized else 2)
        assert sum(len(asked.body) for asked in bench.network.requests[1:]) <= 16 * len(piece)
        assert bench.outcomes == ["ok", "refused"]

    run()


@virtual_time
async def test_no_limit_is_no_limit() -> None:
    bench = Bench(models=(a_model(inference=InferenceSpec("/image", max_body_mb=0)),))
    assert (await bench.serve(request(body=b"x" * 65536 * 1500))).messages[0].status == 200


@virtual_time
async def test_the_body_names_the_model_within_64_kib_and_goes_on_unchanged() -> None:
    hook = FakeHook(hangs={"identify"})
    bench = Bench(models=(a_model(), a_model(OTHER)), hooks=[hook])
    body = b'{"model_id": "org/two", "image": "' + b"A" * 200_000 + b'"}'
    whole = request(("Content-Type", "application/json"), ("Expect", "100-continue"), body=body)
    at = whole.index(b"{")
    caller = bench.caller(whole[:at])
    assert caller.sent == b"HTTP/1.1 100 Continue\r\n\r\n", "without the body there is no answer"
    for start in range(at, len(whole), 1000):
        caller.say(whole[start : start + 1000])
    assert hook.identified[0].key == OTHER
    assert bench.table.active(OTHER) == 0
    received = len(whole) - sum(len(piece) for piece in caller.inbox if isinstance(piece, bytes))
    assert received - len(whole) + len(body) <= READ_AHEAD_BYTES + 1000, "no more is read than is of use"
    await bench.idle()
    assert refused(caller.messages[-1]) is Code.HOOK_FAILED
    hook.hangs.clear()
    caller = await bench.serve(whole)
    assert caller.messages[-1].status == 200
    assert bench.network.requests[-1].body == body
    assert [key for key, _, _, _, _ in bench.metrics.jobs] == [OTHER, OTHER]


@virtual_time
async def test_two_bodies_under_the_same_head_may_name_two_models() -> None:
    bench = Bench(models=(a_model(), a_model(OTHER)))
    for model_id in ("org/one", "org/two", "org/one"):
        await bench.serve(request(body=b'{"model_id":"%b"}' % model_id.encode()))
    assert [key for key, _, _, _, _ in bench.metrics.jobs] == [KEY, OTHER, KEY]


@virtual_time
async def test_a_body_that_stalls_behind_what_named_the_model_is_noticed_on_a_reused_connection_too() -> None:
    bench = Bench(models=(a_model(), a_model(OTHER)))
    whole = request(body=b'{"model_id": "org/two", "image": "' + b"A" * 100_000 + b'"}')
    assert (await bench.serve(whole)).messages[0].status == 200
    begun_at = now()
    assert code_of(await bench.serve(whole[:-1])) is Code.BODY_STALLED
    assert now() - begun_at == pytest.approx(7, abs=0.2)
    assert len(bench.network.dialled) == 1, "it was reused"


@virtual_time
async def test_a_body_that_names_no_model_is_400() -> None:
    bench = Bench(models=(a_model(), a_model(OTHER)))
    assert code_of(await bench.serve(request(body=b"\x00" * 100_000))) is Code.MODEL_NOT_NAMED
    assert code_of(await bench.serve(request())) is Code.MODEL_NOT_NAMED
    assert code_of(await bench.serve(request(body=b"{}")[:-1])) is Code.BODY_STALLED
    assert code_of(await bench.serve(request(chunks=[b"{"])[:-5] + b"no size\r\n")) is Code.BAD_REQUEST
    assert bench.network.dialled == []


@virtual_time
async def test_an_unknown_model_is_404_and_no_series_of_its_own() -> None:
    bench = Bench()
    caller = await bench.serve(request(("X-Model-Id", "org/none")))
    assert code_of(caller) is Code.UNKNOWN_MODEL
    assert b"image/org/one" in caller.sent
    assert bench.metrics.jobs[0][0] is None


@virtual_time
async def test_health_is_ours_and_is_no_job() -> None:
    bench = Bench(is_open=False)
    ask = request(target=f"{ONE}/health", method="GET")
    (got,) = (await bench.serve(ask)).messages
    assert (got.status, json.loads(got.body)) == (200, {"status": "ok"})
    bench.health = (False, "it is loading")
    caller = await bench.serve(ask)
    assert code_of(caller) is Code.NOT_READY
    assert b"it is loading" in caller.sent
    assert bench.metrics.jobs == []
    assert bench.log.lines == []
    assert bench.network.dialled == []


@pytest.mark.parametrize("who", ["caller", "runner"])
def test_an_upgrade_is_a_tunnel_until_both_sides_have_ended(who: str) -> None:
    @virtual_time
    async def run() -> None:
        bench = Bench()
        bench.network.reply = None
        caller = bench.caller(UPGRADE + b"ping")
        await bench.settle()
        runner = bench.network.end
        assert runner.messages[0].header("Upgrade") == "websocket"
        assert not runner.sent.endswith(b"ping"), "it may decline"
        runner.say(SWITCHED + b"pong")
        assert (caller.messages[0].status, caller.messages[0].header("Upgrade")) == (101, "websocket")
        assert caller.sent.endswith(b"\r\n\r\npong")
        assert runner.sent.endswith(b"\r\n\r\nping")
        one, other = (caller, runner) if who == "caller" else (runner, caller)
        one.finish()
        assert other.ended
        other.say(b"last")
        assert one.sent.endswith(b"last")
        assert bench.outcomes == []
        other.finish()
        await bench.idle()
        assert bench.outcomes == ["ok"]
        assert one.lost
        assert other.lost

    run()


@virtual_time
async def test_a_tunnel_that_is_silent_or_full_on_one_side_is_late() -> None:
    for room in (None, 400):
        bench = Bench()
        bench.network.reply = None
        caller = bench.caller(UPGRADE, room=room)
        await bench.settle()
        bench.network.end.say(SWITCHED)
        for _ in range(5):
            await asyncio.sleep(6)
            bench.network.end.say(b"x" * 100)
        assert bench.outcomes == ([] if room is None else ["timeout"])
        await bench.idle()
        assert bench.outcomes == ["timeout"]
        assert caller.socket.resets


@virtual_time
async def test_a_runner_that_switches_unasked_is_broken() -> None:
    bench = Bench()
    bench.network.reply = SWITCHED
    assert code_of(await bench.serve(request())) is Code.BACKEND_BROKE


async def until(bench: Bench, where: str, **asks: Any) -> FakeTransport:
    """Bring a job there and leave it; return its caller."""
    if where == "connect":
        bench.network.gate = asyncio.Event()
    bench.network.reply = HANGING if where == "answer" else None
    caller = bench.caller(
        request(body=b"abc", **asks)[: -1 if where == "body" else None], room=10 if where == "taken" else None
    )
    await bench.settle()
    if where == "taken":
        bench.network.end.say(answer())
    return caller


@pytest.mark.parametrize("where", ["admit", "connect", "body", "runner", "answer", "taken"])
def test_a_drain_cuts_what_still_runs(where: str) -> None:
    @virtual_time
    async def run() -> None:
        bench = Bench(hooks=[FakeHook(hangs={where})])
        caller = await until(bench, where)
        assert bench.table.abort(runner_of(KEY), "its runner is replaced") == 1
        await bench.idle()
        assert now() == pytest.approx(0, abs=0.2)
        assert bench.outcomes == ["aborted"]
        assert bench.hurried == []
        if where in ("answer", "taken"):
            assert caller.socket.resets
        else:
            assert code_of(caller) is Code.DRAINING

    run()


@virtual_time
async def test_shutdown_refuses_new_jobs_and_cuts_running_ones_when_told() -> None:
    bench = Bench()
    running = await until(bench, "runner")
    kept = bench.caller()
    bench.server.stop_accepting()
    kept.say(request())
    assert code_of(kept) is Code.SHUTTING_DOWN
    assert kept.over, "no next request on this connection"
    assert bench.outcomes == ["refused"]
    bench.handler.abort_all("orchd is shutting down")
    await bench.idle()
    assert code_of(running) is Code.SHUTTING_DOWN
    assert bench.outcomes == ["refused", "aborted"]


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("where", ["identify", "admit", "connect", "body", "runner", "answer"])
def test_a_caller_that_is_gone_is_one_outcome_and_no_failure_of_the_runner(where: str, reset: bool) -> None:
    @virtual_time
    async def run() -> None:
        bench = Bench(hooks=[FakeHook(hangs={where})])
        caller = await until(bench, where)
        caller.lose() if reset else caller.finish()
        await bench.idle()
        assert bench.outcomes == ["client_gone"]
        assert bench.hurried == []
        assert caller.lost
        assert bench.table.active(KEY) == (where in ("body", "runner", "answer")), "its runner may still be at work"
        await asyncio.sleep(60.1)
        assert bench.table.active(KEY) == 0
        assert all(end.lost for end in bench.network.ends)

    run()


@pytest.mark.parametrize("where", ["identify", "admit", "connect", "runner", "answer"])
def test_a_caller_that_leaves_before_its_answer_has_begun_is_told_with_the_door(where: str) -> None:
    """The node keeps the slot of such a job (docs/protocol/byoc.md, 5.2)."""

    @virtual_time
    async def run() -> None:
        bench = Bench(hooks=[FakeHook(hangs={where})])
        caller = await until(bench, where, target=f"/byoc/{KEY.slug}")
        assert bench.server.running(KEY, "byoc") == 1
        assert bench.server.running(KEY, "live-runner") == bench.server.running(OTHER, "byoc") == 0
        caller.lose()
        await bench.idle()
        assert bench.server.running(KEY, "byoc") == 0
        assert bench.unanswered == ([] if where == "answer" else [(KEY, "byoc")])

    run()


@pytest.mark.parametrize(("late", "told"), [(runner_says_nothing, True), (runner_stops, False), (nothing, False)])
def test_a_job_that_times_out_before_its_answer_is_told_with_the_door(
    late: Callable[[Bench], None], told: bool
) -> None:
    @virtual_time
    async def run() -> None:
        bench = Bench(models=(a_model(inference=InferenceSpec("/image", timeout_s=10)),))
        late(bench)
        bench.caller(request(target=f"/byoc/{KEY.slug}"))
        await bench.idle()
        assert bench.unanswered == ([(KEY, "byoc")] if told else [])

    run()


@virtual_time
async def test_a_connection_that_comes_after_its_job_was_cut_is_kept_for_the_next() -> None:
    bench = Bench()
    caller = bench.caller(request())
    await bench.network.connected()
    caller.lose()
    await bench.idle()
    made = len(bench.network.ends)
    assert (await bench.serve(request())).messages[0].status == 200
    assert len([end for end in bench.network.ends if not end.lost]) == 1
    assert made <= len(bench.network.ends) <= 2


@virtual_time
async def test_each_job_writes_one_line() -> None:
    bench = Bench()
    await bench.serve(request(("Livepeer-Request-Id", "r1"), ("Authorization", "Bearer s3cret"), body=b"abc"))
    await bench.serve(request(("X-Model-Id", "org/none")))
    first, second = bench.log.lines
    assert (first["request_id"], first["pipeline"], first["model_id"]) == ("r1", "image", "org/one")
    assert (first["outcome"], first["status"], first["bytes_in"], first["bytes_out"]) == ("ok", 200, 3, 6)
    assert (second["outcome"], second["code"], second["status"]) == ("refused", "capability_not_served", 404)
    assert "s3cret" not in repr(bench.log.lines)


@virtual_time
async def test_a_model_that_leaves_the_file_goes_on_for_its_running_jobs() -> None:
    bench = Bench()
    running = await until(bench, "runner")
    bench.models = {}
    bench.table.forget(KEY)
    assert code_of(bench.caller(request())) is Code.UNKNOWN_MODEL
    bench.network.end.say(answer())
    await bench.idle()
    assert running.messages[0].body == b"answer"
    assert bench.table.active(KEY) == 0
    assert bench.network.end.lost, "no job can come there any more"


@virtual_time
async def test_hooks_see_the_job_as_it_came() -> None:
    bench = Bench()
    await bench.serve(request(("Livepeer-Payment", "e30="), ("X-A", "1")))
    (job,) = bench.hooks[0].admitted
    assert isinstance(job, Job)
    assert (job.key, job.peer, job.header(b"livepeer-payment"), job.admitted) == (KEY, "192.0.2.1", b"e30=", True)
    assert session_of(job) is bench.hooks[0].settled[0][0]


def events(*chunks: bytes) -> bytes:
    return answer(b"", ("Content-Type", "text/event-stream"), chunks=chunks)[: -len(b"0\r\n\r\n")]


@virtual_time
async def test_a_line_that_go_livepeer_can_not_read_ends_its_event_stream() -> None:
    bench = Bench()
    bench.network.reply = None
    caller = bench.caller(request(target=f"/byoc/{KEY.slug}", body=b"x"))
    await bench.settle()
    runner = await bench.network.connected()
    runner.say(events(b"data: 1\n\n", b"data: " + b"x" * 60_000))
    await bench.settle()
    assert caller.messages[0].end is None
    runner.say(b"%x\r\n%b\r\n" % (6_000, b"y" * 6_000))
    await bench.idle()
    (got,) = caller.messages
    assert got.end is not None
    assert max(map(len, got.body.split(b"\n"))) < 64 * 1024
    assert b"y" not in got.body.partition(b"event: error")[0]
    told = got.body.decode().rpartition("event: error\ndata: ")[2]
    assert told.endswith("\n\ndata: [DONE]\n\n")
    assert "64 KiB" in json.loads(told.partition("\n")[0])["error"]
    assert (bench.outcomes, bench.codes) == (["backend_failed"], ["event_line_too_long"])


@virtual_time
async def test_at_other_doors_such_a_line_passes() -> None:
    bench = Bench()
    bench.network.reply = events(b"data: " + b"x" * 70_000) + b"0\r\n\r\n"
    for target in (f"{ONE}/x", f"/live/{KEY.slug}/s3cret/x"):
        got = (await bench.serve(request(target=target, body=b"x"))).messages[0]
        assert (got.status, len(got.body)) == (200, 70_006)
