"""One job's way, decision by decision, over fakes at both edges. Time is virtual."""

from __future__ import annotations

import asyncio
import json

import pytest
import structlog

from orchd.domain.ids import ModelKey
from orchd.domain.model import InferenceSpec, Secret, StreamSpec
from orchd.errors import JOB_ANSWERS, Code, JobRefused
from orchd.jobs.body import READ_AHEAD_BYTES
from orchd.jobs.ports import Answer, CallerGone, RunnerBroke, RunnerUnreachable
from orchd.sessions.session import Outcome
from orchd.tasks import cancel, spawn
from tests.jobs.fakes import ADDRESS, KEY, Bench, FakeCaller, FakeHook, Turns, a_model, runner_of
from tests.virtual_time import settle, virtual_time

OTHER = ModelKey("image", "org/two")


def refused(caller: FakeCaller) -> Code:
    """Return the code of our own answer, having checked its shape."""
    assert caller.answers == 1
    body = json.loads(caller.reply)
    assert set(body) == {"error", "message", "request_id"}
    assert body["message"].startswith("cannot ")
    code = Code(body["error"])
    headers = caller.reply_headers
    assert headers["Livepeer-Error"] == code
    assert headers["Livepeer-Request-Id"] == body["request_id"]
    assert caller.status == JOB_ANSWERS[code].status != 401
    assert ("Retry-After" in headers) == ("Livepeer-Backoff" in headers) == (caller.status == 503)
    return code


@virtual_time
async def test_a_job_passes_both_ways_and_settles_once() -> None:
    bench = Bench()
    caller = await bench.serve(("Livepeer-Request-Id", "mine"), ("X-A", "1"), body=(b"a", b"b"))
    assert (caller.status, caller.reply, caller.finished) == (200, b"answer", True)
    assert caller.reply_headers["Livepeer-Request-Id"] == "mine"
    (exchange,) = bench.runners.exchanges
    assert exchange.sent == ("POST", "/image", (("X-A", "1"),))
    assert (exchange.body, exchange.ended, exchange.closed) == (b"ab", True, True)
    (hook,) = bench.hooks
    assert [outcome for _, outcome in hook.settled] == [Outcome.OK]
    assert hook.identified == hook.admitted
    assert bench.outcomes == ["ok"]
    assert bench.hurried == []


@virtual_time
async def test_the_order_is_identify_slot_admit_continue_request() -> None:
    seen: list[str] = []

    class Noting(Turns):
        async def point(self, name: str) -> None:
            seen.append(f"{name}:{bench.table.active(KEY)}")
            await super().point(name)

    bench = Bench(Noting())
    await bench.serve()
    assert seen[:5] == [
        "hook.identify:0",
        "hook.admit:1",
        "caller.proceed:1",
        "runner.connect:1",
        "runner.request:1",
    ]
    assert seen[-2:] == ["caller.finish:1", "hook.settle:0"]


@virtual_time
async def test_the_runners_own_answer_passes_whatever_its_status() -> None:
    bench = Bench()
    for status in (201, 302, 401, 404, 500, 503):
        bench.runners.answer = Answer(status, "", (("WWW-Authenticate", "Basic"),))
        caller = await bench.serve()
        assert (caller.status, caller.reply, caller.answers) == (status, b"answer", 0)
    assert set(bench.outcomes) == {"ok"}


@virtual_time
async def test_the_entrys_token_goes_along() -> None:
    bench = Bench(models=(a_model(token=Secret("t0p")),))
    await bench.serve(("Authorization", "Bearer the caller's"))
    (exchange,) = bench.runners.exchanges
    assert exchange.sent is not None
    assert exchange.sent[2] == (("Authorization", "Bearer t0p"),)


@virtual_time
async def test_full_is_503_and_room_comes_back_with_the_end() -> None:
    bench = Bench()
    bench.turns.hang = {"runner.answer"}
    first = spawn(bench.handler.handle(bench.caller()), name="first")
    await bench.turns.reached("runner.answer")
    caller = bench.caller()
    await bench.handler.handle(caller)
    assert refused(caller) is Code.CAPACITY_EXHAUSTED
    await cancel(first)
    bench.turns.hang = set()
    assert (await bench.serve()).status == 200
    assert bench.outcomes == ["refused", "client_gone", "ok"]


@virtual_time
async def test_a_slot_is_free_in_the_step_in_which_the_answer_ends() -> None:
    bench = Bench()
    free: list[int] = []

    class Caller(FakeCaller):
        async def finish(self) -> None:
            self.finished = True
            asyncio.get_running_loop().call_soon(lambda: free.append(bench.table.active(KEY)))

    await bench.handler.handle(Caller(bench.turns, body=()))
    await bench.handler.idle()
    assert free == [0], "whoever sees the end may begin at once"


@pytest.mark.parametrize("point", ["hook.identify", "hook.admit"])
def test_a_hook_refuses_with_its_code(point: str) -> None:
    @virtual_time
    async def run() -> None:
        bench = Bench()
        bench.turns.fail[point] = JobRefused(Code.FORBIDDEN, "cannot serve you")
        caller = await bench.serve()
        assert refused(caller) is Code.FORBIDDEN
        assert bench.runners.exchanges == []
        assert len(bench.hooks[0].settled) == (point == "hook.admit"), "a session, then an account"
        assert bench.outcomes == ["refused"]

    run()


@pytest.mark.parametrize("how", ["raises", "hangs"])
@pytest.mark.parametrize("point", ["identify", "admit"])
def test_a_hook_that_raises_or_hangs_refuses_with_503(point: str, how: str) -> None:
    @virtual_time
    async def run() -> None:
        bench = Bench(hooks=lambda turns: [FakeHook(turns, "first"), FakeHook(turns, "second")])
        if how == "raises":
            bench.turns.fail[f"first.{point}"] = ValueError("s3cret")
        else:
            bench.turns.hang = {f"first.{point}"}
        caller = await bench.serve()
        assert refused(caller) is Code.HOOK_FAILED
        assert b"s3cret" not in caller.reply
        first, second = bench.hooks
        assert second.turns.passed[f"second.{point}"] == 0, "the first no ends it"
        assert first.settled == second.settled
        assert [outcome for _, outcome in first.settled] == ([Outcome.REFUSED] if point == "admit" else [])

    run()


@pytest.mark.parametrize("how", ["raises", "hangs"])
def test_a_settle_that_fails_is_logged_and_the_next_hook_is_settled(how: str) -> None:
    @virtual_time
    async def run() -> None:
        bench = Bench(hooks=lambda turns: [FakeHook(turns, "first"), FakeHook(turns, "second")])
        if how == "raises":
            bench.turns.fail["first.settle"] = ValueError("no")
        else:
            bench.turns.hang = {"first.settle"}
        with structlog.testing.capture_logs() as logs:
            caller = await bench.serve()
        assert (caller.status, caller.finished) == (200, True)
        assert [len(hook.settled) for hook in bench.hooks] == [1, 1]
        assert "settle_failed" in [line["event"] for line in logs]

    run()


@virtual_time
async def test_hooks_are_charged_from_time_to_time_and_can_end_the_session() -> None:
    bench = Bench()
    bench.turns.hang = {"runner.read"}
    caller = bench.caller()
    job = spawn(bench.handler.handle(caller), name="job")
    await asyncio.sleep(3.5)
    (hook,) = bench.hooks
    assert hook.charged == pytest.approx([1.0, 2.0, 3.0], abs=0.1)
    bench.turns.fail["hook.charge"] = JobRefused(Code.FORBIDDEN, "cannot go on: nothing is left")
    await job
    await bench.handler.idle()
    assert caller.broken, "the answer had begun"
    assert bench.outcomes == ["aborted"]
    assert [outcome for _, outcome in hook.settled] == [Outcome.ABORTED]


@virtual_time
async def test_no_charge_before_admission_and_none_while_it_settles() -> None:
    bench = Bench()
    bench.turns.hang = {"hook.admit"}
    await bench.serve()
    assert bench.hooks[0].charged == []
    bench.turns.hang = {"hook.charge", "runner.answer"}
    job = spawn(bench.handler.handle(bench.caller()), name="job")
    await bench.turns.reached("hook.charge")
    await cancel(job)
    assert bench.table.active(KEY) == 0, "the slot does not wait for hooks"
    assert len(bench.hooks[0].settled) == 1
    await bench.handler.idle()
    assert len(bench.hooks[0].settled) == 2


@virtual_time
async def test_a_cold_model_holds_the_job_until_it_is_ready() -> None:
    bench = Bench(is_open=False)
    bench.table.set_closed(KEY, startable=True, code=Code.NOT_READY, reason="it is cold")
    caller = bench.caller()
    job = spawn(bench.handler.handle(caller), name="job")
    await asyncio.sleep(5)
    assert bench.wanted == [KEY]
    assert bench.hooks[0].identified, "only an identified job starts a model"
    assert bench.hooks[0].admitted == []
    assert caller.read_bytes == 0
    bench.table.open(runner_of(KEY), ADDRESS, None)
    await job
    assert caller.status == 200
    ((_, outcome, _, _, held_s),) = bench.metrics.jobs
    assert outcome == "ok"
    assert held_s == pytest.approx(5.0)
    await bench.handler.idle()


@virtual_time
async def test_a_held_job_gives_up_at_the_deadline() -> None:
    bench = Bench(is_open=False)
    bench.table.set_closed(KEY, startable=True, code=Code.NOT_READY, reason="it is cold")
    before = asyncio.get_running_loop().time()
    caller = await bench.serve()
    assert refused(caller) is Code.HOLD_TIMEOUT
    assert asyncio.get_running_loop().time() - before == pytest.approx(20, abs=0.1)
    assert bench.table.waiting(KEY) == 0


@virtual_time
async def test_a_job_that_is_not_identified_starts_nothing() -> None:
    bench = Bench(is_open=False)
    bench.table.set_closed(KEY, startable=True, code=Code.NOT_READY, reason="it is cold")
    bench.turns.fail["hook.identify"] = JobRefused(Code.FORBIDDEN, "cannot serve you")
    assert refused(await bench.serve()) is Code.FORBIDDEN
    assert bench.wanted == []


@virtual_time
async def test_the_slot_that_opens_as_its_job_is_cancelled_comes_back() -> None:
    bench = Bench(is_open=False)
    bench.table.set_closed(KEY, startable=True, code=Code.NOT_READY, reason="it is cold")
    job = spawn(bench.handler.handle(bench.caller()), name="job")
    await settle()
    bench.table.open(runner_of(KEY), ADDRESS, None)
    job.cancel()
    await asyncio.wait({job})
    assert bench.table.active(KEY) == 0
    await bench.handler.idle()
    assert [outcome for _, outcome in bench.hooks[0].settled] == [Outcome.CLIENT_GONE]


@pytest.mark.parametrize(
    ("point", "error", "code", "outcome"),
    [
        ("runner.connect", RunnerUnreachable("refused"), Code.BACKEND_UNAVAILABLE, "backend_failed"),
        ("runner.request", RunnerBroke("closed"), Code.BACKEND_BROKE, "backend_failed"),
        ("runner.answer", RunnerBroke("closed"), Code.BACKEND_BROKE, "backend_failed"),
        ("runner.answer", ValueError("a bug"), Code.INTERNAL, "error"),
        ("caller.read", JobRefused(Code.BAD_REQUEST, "cannot read the body"), Code.BAD_REQUEST, "refused"),
        ("caller.read", ValueError("a bug"), Code.INTERNAL, "error"),
    ],
)
def test_what_fails_before_the_answer_gets_an_answer(point: str, error: Exception, code: Code, outcome: str) -> None:
    @virtual_time
    async def run() -> None:
        bench = Bench()
        bench.turns.fail[point] = error
        if point.startswith("caller"):
            bench.turns.hang = {"runner.answer"}
        with structlog.testing.capture_logs():
            caller = await bench.serve()
        assert refused(caller) is code
        assert bench.outcomes == [outcome]
        assert bench.hurried == ([runner_of(KEY)] if outcome == "backend_failed" else [])
        assert all(exchange.closed for exchange in bench.runners.exchanges)

    run()


@virtual_time
async def test_a_runner_that_stops_reading_may_still_answer() -> None:
    bench = Bench()
    bench.turns.fail["runner.write"] = RunnerBroke("closed")
    caller = await bench.serve(body=(b"a", b"b"))
    assert (caller.status, caller.finished) == (200, True)


@virtual_time
async def test_a_runner_that_breaks_in_its_answer_breaks_the_callers_connection() -> None:
    bench = Bench()
    bench.turns.fail["runner.read"] = RunnerBroke("closed the connection in the middle of its answer")
    caller = await bench.serve()
    assert caller.broken
    assert not caller.finished
    ((_, outcome, code, _, _),) = bench.metrics.jobs
    assert (outcome, code) == ("backend_failed", Code.BACKEND_BROKE)
    assert bench.hurried == [runner_of(KEY)]


@pytest.mark.parametrize(
    ("point", "seconds", "code"),
    [
        ("runner.connect", 3, Code.BACKEND_UNAVAILABLE),
        ("runner.write", 10, Code.BACKEND_TIMEOUT),
        ("runner.answer", 10, Code.BACKEND_TIMEOUT),
        ("caller.read", 7, Code.BODY_STALLED),
        ("runner.read", 7, Code.BACKEND_TIMEOUT),
        ("caller.write", 7, Code.BODY_STALLED),
    ],
)
def test_whoever_is_late_is_named(point: str, seconds: float, code: Code) -> None:
    @virtual_time
    async def run() -> None:
        bench = Bench(models=(a_model(inference=InferenceSpec("/image", timeout_s=10)),))
        bench.turns.hang = {point} | ({"runner.answer"} if point in ("caller.read", "runner.write") else set())
        before = asyncio.get_running_loop().time()
        caller = await bench.serve()
        assert asyncio.get_running_loop().time() - before == pytest.approx(seconds, abs=0.1)
        ((_, outcome, got, _, _),) = bench.metrics.jobs
        assert got == code
        assert outcome == ("backend_failed" if code is Code.BACKEND_UNAVAILABLE else "timeout")
        assert caller.broken != (caller.answers == 1)
        assert caller.broken == (point in ("runner.read", "caller.write"))

    run()


@virtual_time
async def test_a_slow_upload_is_not_a_slow_runner() -> None:
    class Slow(Turns):
        async def point(self, name: str) -> None:
            if name == "caller.read":
                await asyncio.sleep(6)
            if name == "runner.answer":
                await asyncio.sleep(65)
            await super().point(name)

    bench = Bench(Slow(), models=(a_model(inference=InferenceSpec("/image", timeout_s=10)),))
    caller = await bench.serve(body=tuple(b"z" for _ in range(10)))
    assert caller.status == 200


@virtual_time
async def test_a_piece_either_way_keeps_a_two_way_job_alive() -> None:
    class Slow(Turns):
        async def point(self, name: str) -> None:
            if name == "caller.read":
                await asyncio.sleep(6)
            if name == "runner.read":
                await asyncio.sleep(40)
            await super().point(name)

    bench = Bench(Slow())
    bench.runners.pieces = (b"x",)
    caller = await bench.serve(body=tuple(b"z" for _ in range(20)))
    assert (caller.status, caller.finished) == (200, True)


@virtual_time
async def test_progress_of_a_session_is_its_last_byte() -> None:
    bench = Bench()
    bench.turns.hang = {"runner.read"}
    await asyncio.sleep(4)
    job = spawn(bench.handler.handle(bench.caller()), name="job")
    await asyncio.sleep(3)
    assert bench.table.progress_at(runner_of(KEY)) == pytest.approx(4, abs=0.1)
    await cancel(job)
    await bench.handler.idle()


@pytest.mark.parametrize("sized", [True, False])
def test_too_large_is_413(sized: bool) -> None:
    @virtual_time
    async def run() -> None:
        bench = Bench(models=(a_model(inference=InferenceSpec("/image", max_body_mb=1)),))
        bench.turns.hang = {"runner.answer"}
        piece = b"x" * 65536
        caller = await bench.serve(body=(piece,) * 17, sized=sized)
        assert refused(caller) is Code.BODY_TOO_LARGE
        assert len(bench.runners.exchanges) == (0 if sized else 1)
        assert caller.read_bytes <= 17 * 65536
        assert bench.outcomes == ["refused"]
        bench.turns.hang = set()
        assert (await bench.serve(body=(piece,) * 16, sized=sized)).status == 200

    run()


@virtual_time
async def test_no_limit_is_no_limit() -> None:
    bench = Bench(models=(a_model(inference=InferenceSpec("/image", max_body_mb=0)),))
    assert (await bench.serve(body=(b"x" * 65536,) * 2000)).status == 200


@virtual_time
async def test_the_body_names_the_model_within_64_kib_and_goes_on_unchanged() -> None:
    bench = Bench(models=(a_model(), a_model(OTHER)))
    body = b'{"model_id": "org/two", "image": "' + b"A" * 200_000 + b'"}'
    caller = bench.caller(("Content-Type", "application/json"), body=(body[:10], body[10:]))
    bench.turns.hang = {"hook.identify"}
    job = spawn(bench.handler.handle(caller), name="job")
    await bench.turns.reached("hook.identify")
    assert caller.read_bytes == READ_AHEAD_BYTES
    assert caller.proceeded == 1
    assert bench.table.active(OTHER) == 0
    bench.turns.hang = set()
    await cancel(job)
    caller = await bench.serve(("Content-Type", "application/json"), body=(body[:10], body[10:]))
    assert caller.status == 200
    assert bench.runners.exchanges[-1].body == body
    assert [key for key, _, _, _, _ in bench.metrics.jobs] == [OTHER, OTHER]


@virtual_time
async def test_a_body_that_names_no_model_is_400() -> None:
    bench = Bench(models=(a_model(), a_model(OTHER)))
    assert refused(await bench.serve(body=(b"\x00" * 100_000,))) is Code.MODEL_NOT_NAMED
    assert refused(await bench.serve(body=())) is Code.MODEL_NOT_NAMED
    bench.turns.hang = {"caller.read"}
    assert refused(await bench.serve()) is Code.BODY_STALLED
    assert bench.runners.exchanges == []


@virtual_time
async def test_an_unknown_model_is_404_and_no_series_of_its_own() -> None:
    bench = Bench()
    caller = await bench.serve(("X-Model-Id", "org/none"))
    assert refused(caller) is Code.UNKNOWN_MODEL
    assert b"image/org/one" in caller.reply
    assert bench.metrics.jobs[0][0] is None


@virtual_time
async def test_a_post_that_would_start_a_stream_is_refused() -> None:
    model = a_model(stream=StreamSpec(post_starts_stream=True))
    bench = Bench(models=(model,))
    assert refused(await bench.serve()) is Code.STREAMS_UNSUPPORTED
    assert refused(await bench.serve(target="/models/image/org%2Fone/image")) is Code.STREAMS_UNSUPPORTED
    caller = await bench.serve(target="/models/image/org%2Fone/version", method="GET", body=())
    assert caller.status == 200


@virtual_time
async def test_health_is_ours_and_is_no_job() -> None:
    bench = Bench(is_open=False)
    caller = await bench.serve(target="/models/image/org%2Fone/health", method="GET", body=())
    assert (caller.status, json.loads(caller.reply)) == (200, {"status": "ok"})
    bench.health = (False, "it is loading")
    caller = await bench.serve(target="/models/image/org%2Fone/health", method="GET", body=())
    assert refused(caller) is Code.NOT_READY
    assert b"it is loading" in caller.reply
    assert bench.metrics.jobs == []
    assert bench.runners.exchanges == []


@virtual_time
async def test_an_upgrade_is_a_tunnel_until_either_side_ends() -> None:
    bench = Bench()
    bench.runners.answer = Answer(101, "Switching Protocols", (("Upgrade", "websocket"), ("Connection", "Upgrade")))
    caller = FakeCaller(
        bench.turns, target="/models/image/org%2Fone/ws", method="GET", body=(), sized=False, upgrade="websocket"
    )
    caller.pieces = [b"ping"]
    await bench.handler.handle(caller)
    await bench.handler.idle()
    assert caller.status == 101
    assert caller.reply_headers["Upgrade"] == "websocket"
    assert caller.reply == b"answer"
    assert bench.runners.exchanges[0].body == b"ping"
    assert bench.outcomes == ["ok"]


@virtual_time
async def test_a_runner_that_switches_unasked_is_broken() -> None:
    bench = Bench()
    bench.runners.answer = Answer(101, "Switching Protocols", ())
    assert refused(await bench.serve()) is Code.BACKEND_BROKE


@pytest.mark.parametrize("point", ["hook.admit", "runner.connect", "runner.answer", "runner.read", "caller.write"])
def test_a_drain_cuts_what_still_runs(point: str) -> None:
    @virtual_time
    async def run() -> None:
        bench = Bench()
        bench.turns.hang = {point}
        caller = bench.caller()
        job = spawn(bench.handler.handle(caller), name="job")
        await bench.turns.reached(point)
        assert bench.table.abort(runner_of(KEY), "its runner is replaced") == 1
        await job
        await bench.handler.idle()
        assert bench.outcomes == ["aborted"]
        assert bench.hurried == []
        if caller.answers:
            assert refused(caller) is Code.DRAINING
        else:
            assert caller.broken

    run()


@virtual_time
async def test_shutdown_refuses_new_jobs_and_cuts_running_ones_when_told() -> None:
    bench = Bench()
    bench.turns.hang = {"runner.answer"}
    running = bench.caller()
    job = spawn(bench.handler.handle(running), name="job")
    await bench.turns.reached("runner.answer")
    bench.handler.refuse_new()
    late = bench.caller()
    await bench.handler.handle(late)
    assert refused(late) is Code.SHUTTING_DOWN
    assert not job.done()
    bench.handler.abort_all("orchd is shutting down")
    await bench.handler.idle()
    await job
    assert refused(running) is Code.SHUTTING_DOWN
    assert bench.outcomes == ["refused", "aborted"]


@virtual_time
async def test_a_caller_that_is_gone_is_one_outcome_and_no_failure_of_the_runner() -> None:
    for point in ("caller.read", "caller.start", "caller.write", "caller.finish"):
        bench = Bench()
        bench.turns.fail[point] = CallerGone()
        if point == "caller.read":
            bench.turns.hang = {"runner.answer"}
        await bench.serve()
        assert bench.outcomes == ["client_gone"]
        assert bench.hurried == []
        assert bench.runners.exchanges[0].closed


@virtual_time
async def test_each_job_writes_one_line() -> None:
    bench = Bench()
    with structlog.testing.capture_logs() as logs:
        await bench.serve(("Livepeer-Request-Id", "r1"), ("Authorization", "Bearer s3cret"), body=(b"abc",))
        await bench.serve(("X-Model-Id", "org/none"))
    done = [line for line in logs if line["event"] == "job_done"]
    assert len(done) == 2
    first = done[0]
    assert (first["request_id"], first["pipeline"], first["model_id"]) == ("r1", "image", "org/one")
    assert (first["outcome"], first["status"], first["bytes_in"], first["bytes_out"]) == ("ok", 200, 3, 6)
    assert (done[1]["outcome"], done[1]["code"], done[1]["status"]) == ("refused", "capability_not_served", 404)
    assert "s3cret" not in repr(logs)


@virtual_time
async def test_a_model_that_leaves_the_file_goes_on_for_its_running_jobs() -> None:
    bench = Bench()
    bench.turns.hang = {"runner.answer"}
    caller = bench.caller()
    job = spawn(bench.handler.handle(caller), name="job")
    await bench.turns.reached("runner.answer")
    bench.models = {}
    bench.table.forget(KEY)
    late = bench.caller()
    await bench.handler.handle(late)
    assert refused(late) is Code.UNKNOWN_MODEL
    await cancel(job)
    await bench.handler.idle()
    assert bench.table.active(KEY) == 0
