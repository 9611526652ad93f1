"""Hooks hear of a request's arrival before its body and its model: who may not ask at all costs no more than a head."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from orchd.domain.ids import ModelKey
from orchd.domain.origins import Origin
from orchd.doors.routes import Beside
from orchd.errors import Code, JobRefused
from orchd.hooks.hook import JobHook, Waits
from orchd.hooks.job import Job
from orchd.node.route_secrets import RouteSecrets
from orchd.tickets.node_token import NodeToken
from tests.jobs.fakes import Bench, FakeHook
from tests.jobs.messages import ONE, refused, request
from tests.jobs.model import KEY, a_model
from tests.relay.transport import FakeTransport
from tests.virtual_time import virtual_time

OTHER = ModelKey("image", "org/two")
BYOC, LIVE = f"/byoc/{KEY.slug}", f"/live/{KEY.slug}"
WRONG = "a" * 52
NO = JobRefused(Code.FORBIDDEN, "cannot serve you")


@dataclass
class Gate(FakeHook):
    """Attributes:
    order: which calls came, with the model, the way and the bytes of the body that were read by then.
    """

    order: list[tuple[Any, ...]] = field(default_factory=list)

    def arrive(self, job: Job) -> Waits:
        self.never(job.key is not None, "it knows the model")
        self.never(job.arrived, "it has arrived already")
        self.order.append(("arrive", job.door, job.named))
        return self.does("arrive")

    def identify(self, job: Job) -> Waits:
        self.never(not job.arrived, "identified before it has arrived")
        self.order.append(("identify", job.key))
        return super().identify(job)


def bench_with(*hooks: Any, **settings: Any) -> Bench:
    return Bench(models=(a_model(), a_model(OTHER)), hooks=hooks, **settings)


def code_of(caller: FakeTransport) -> Code:
    (message,) = caller.messages
    return refused(message)


@pytest.mark.parametrize("waits", [set(), {"arrive"}])
def test_arrival_comes_first_and_knows_no_more_than_the_head_says(waits: set[str]) -> None:
    @virtual_time
    async def run() -> None:
        gate = Gate(waits=waits)
        bench = bench_with(gate)
        named = request(("X-Model-Id", "org/one"), body=b"ab")
        in_body = request(("Content-Type", "application/json"), body=b'{"model_id": "org/two"}')
        for data in (named, in_body, request(target=BYOC), request(target=f"{LIVE}/{WRONG}/x")):
            assert (await bench.serve(data)).messages[0].status == 200
        assert gate.order == [
            ("arrive", Origin.DIRECT, KEY),
            ("identify", KEY),
            ("arrive", Origin.DIRECT, None),
            ("identify", OTHER),
            ("arrive", Origin.BYOC, KEY),
            ("identify", KEY),
            ("arrive", Origin.LIVE_RUNNER, KEY),
            ("identify", KEY),
        ]

    run()


@pytest.mark.parametrize("waits", [set(), {"arrive"}])
def test_who_is_refused_on_arrival_is_asked_for_no_body_and_takes_no_slot(waits: set[str]) -> None:
    """Whatever names the model, and whatever there is of one: also for what would get 404, 413 or a stream's answer."""

    @virtual_time
    async def run() -> None:
        gate = Gate(waits=waits, fails={"arrive": NO})
        bench = bench_with(gate)
        body = (("Content-Type", "application/json"), ("Content-Length", "1000000"), ("Expect", "100-continue"))
        targets = ["/image", f"{ONE}/x", "/nothing", f"{ONE}/stream/start", "/stream/stop", BYOC, f"{BYOC}/stream/stop"]
        targets += [
            f"{LIVE}/{WRONG}/x",
            "/byoc/gone-01234567/x",
            f"/live/gone-01234567/{WRONG}/x",
            "/",
            "/models/a/b/c",
        ]
        for target in targets:
            head = request(*body, target=target).replace(b"Content-Length: 0\r\n", b"")
            caller = bench.caller(head)
            await bench.settle()
            assert code_of(caller) is Code.FORBIDDEN, target
            assert b"100 Continue" not in caller.sent
        assert len(gate.order) == len(targets)
        assert gate.identified == []
        assert bench.network.dialled == []
        assert bench.table.begun(KEY) == bench.table.begun(OTHER) == 0
        await bench.idle()

    run()


@virtual_time
async def test_a_hook_that_fails_or_hangs_on_arrival_refuses_the_job() -> None:
    for gate in (Gate(fails={"arrive": RuntimeError("boom")}), Gate(hangs={"arrive"})):
        bench = bench_with(gate, hook_timeout_s=2)
        assert code_of(await bench.serve(request(target=f"{ONE}/x", body=b"ab"))) is Code.HOOK_FAILED
        assert gate.identified == []


@virtual_time
async def test_all_hooks_hear_of_an_arrival_until_one_refuses() -> None:
    first, second, third = Gate(), Gate(waits={"arrive"}, fails={"arrive": NO}), Gate()
    bench = bench_with(first, second, third)
    assert code_of(await bench.serve(request(target=f"{ONE}/x"))) is Code.FORBIDDEN
    assert [len(gate.order) for gate in (first, second, third)] == [1, 1, 0]


@virtual_time
async def test_health_is_nobodys_job_and_asks_for_no_arrival() -> None:
    gate = Gate(fails={"arrive": NO})
    bench = bench_with(gate)
    assert (await bench.serve(request(target=f"{ONE}/health", method="GET"))).messages[0].status == 200
    assert gate.order == []
    bench.server.use_node(Beside(asks_health=True))
    assert code_of(await bench.serve(request(target=f"{LIVE}/{WRONG}/health", method="GET"))) is Code.FORBIDDEN


# The node's admission.


def beside_node(*, direct: bool = False) -> tuple[Bench, RouteSecrets]:
    secrets = RouteSecrets("11" * 32, 3600.0, lambda: 1e6)
    hook: JobHook = NodeToken(secrets, direct=direct)
    bench = Bench(models=(a_model(), a_model(OTHER)), hooks=[])
    bench.handler._hooks = type(bench.handler._hooks)([hook], timeout_s=2)
    return bench, secrets


@virtual_time
async def test_beside_a_node_a_direct_caller_is_refused_before_its_body_is_read() -> None:
    bench, _ = beside_node()
    for target in ("/image", "/nothing", f"{ONE}/x", "/stream/stop", "/"):
        caller = bench.caller(request(("Expect", "100-continue"), target=target, body=b'{"model_id": "org/one"}')[:-5])
        await bench.settle()
        assert code_of(caller) is Code.FORBIDDEN, target
        assert b"org/" not in caller.sent, "nor is it told which models there are"
        assert b"100 Continue" not in caller.sent
    assert bench.network.dialled == []


@virtual_time
async def test_a_wrong_proof_is_refused_before_the_body_is_read_and_the_right_one_is_asked_once() -> None:
    bench, secrets = beside_node()
    asked: list[str] = []
    admits = secrets.admits

    def counted(slug: str, presented: bytes) -> bool:
        asked.append(slug)
        return admits(slug, presented)

    secrets.admits = counted  # type: ignore[method-assign]
    token = ("Authorization", f"Bearer {secrets.token(KEY.slug, secrets.period()).value}")
    for headers, target in (([], BYOC), ([("Authorization", f"Bearer {WRONG}")], BYOC), ([], f"{LIVE}/{WRONG}/x")):
        caller = bench.caller(request(("Expect", "100-continue"), *headers, target=target, body=b"abc")[:-1])
        await bench.settle()
        assert code_of(caller) is Code.FORBIDDEN
        assert b"100 Continue" not in caller.sent
    asked.clear()
    assert (await bench.serve(request(token, target=BYOC, body=b"abc"))).messages[0].status == 200
    assert asked == [KEY.slug], "not twice for one job"
    segment = secrets.segment(KEY.slug).value
    assert (await bench.serve(request(target=f"{LIVE}/{segment}/x", body=b"abc"))).messages[0].status == 200
    assert bench.table.begun(KEY) == 2


@virtual_time
async def test_the_node_is_told_that_a_model_is_not_offered_whatever_it_shows() -> None:
    """It must go on to another orchestrator: a 403 would be the gateway's last word."""
    bench, _ = beside_node()
    for target in ("/byoc/gone-01234567/x", f"/live/gone-01234567/{WRONG}/x"):
        assert code_of(await bench.serve(request(target=target))) is Code.NOT_OFFERED


@virtual_time
async def test_others_are_served_where_the_operator_says_so() -> None:
    bench, _ = beside_node(direct=True)
    in_body = request(("Content-Type", "application/json"), body=b'{"model_id": "org/two"}')
    assert (await bench.serve(in_body)).messages[0].status == 200
    assert code_of(await bench.serve(request(target="/nothing"))) is Code.UNKNOWN_MODEL
    await asyncio.sleep(0)
