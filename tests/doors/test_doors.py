"""Doors: a listener carries some of them, several lead to one handler, and a new one is one class."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import ClassVar

import pytest

from orchd.domain.ids import Address
from orchd.domain.model import InferenceSpec
from orchd.domain.origins import Origin
from orchd.doors import listed
from orchd.doors.base import AS_IT_IS, AnswerShape, Door
from orchd.doors.byoc.door import ByocDoor
from orchd.doors.entrance import Entrance
from orchd.doors.listed import DOORS
from orchd.doors.live_runner.door import LiveRunnerDoor
from orchd.doors.plain.door import PlainDoor
from orchd.doors.refusal import rendered
from orchd.doors.routes import Beside, Route, Served, ToRunner
from orchd.errors import JOB_ANSWERS, Code, JobRefused
from orchd.http1.names import Header, Memo
from orchd.http1.rules import AnswerHead, RequestHead
from orchd.relay.headers import may_reach_runner
from tests.jobs.fakes import Bench
from tests.jobs.messages import ONE, answer, refused, request
from tests.jobs.model import KEY, a_model
from tests.virtual_time import virtual_time

ORCHD = Path(listed.__file__).parents[1]
MODEL = a_model(inference=InferenceSpec("/image"))
BYOC = f"/byoc/{KEY.slug}/x"


class TradeDoor(Door):
    """A door that somebody adds: one class, and nothing else changes."""

    name: ClassVar[str] = "trade"
    origin: ClassVar[Origin] = Origin.DIRECT
    passing: ClassVar[Memo[bytes, bool]] = Memo(lambda name: name != b"X-Trade" and may_reach_runner(name))

    def takes(self, path: str) -> bool:
        return path == "/trade"

    def route(self, head: RequestHead, target: str, served: Served) -> Route:
        if not head.value(b"x-trade"):
            raise JobRefused(Code.BAD_REQUEST, "cannot trade: name a model in the header X-Trade")
        return ToRunner(next(iter(served.models)), "/traded")

    def shape(self, answer: AnswerHead, request: RequestHead, way: ToRunner, address: Address) -> AnswerShape:
        return AnswerShape(extra=b"X-Traded: yes\r\n") if answer.status == 200 else AS_IT_IS

    def refusal(self, why: JobRefused, request_id: str, secrets: object = ()) -> tuple[int, list[Header], bytes]:
        return why.status, [(b"Content-Type", b"text/plain")], b"no trade"


@virtual_time
async def test_a_new_door_has_its_routes_headers_answers_and_refusals() -> None:
    bench = Bench(models=(MODEL,))
    bench.entrance = Entrance((TradeDoor(), *DOORS))
    caller = await bench.serve(request(("X-Trade", "1"), ("X-A", "b"), target="/trade", body=b"x"))
    (asked,) = bench.network.requests
    assert asked.first == "POST /traded HTTP/1.1"
    assert (asked.header("X-A"), asked.header("X-Trade")) == ("b", None)
    assert (caller.messages[0].status, caller.messages[0].header("X-Traded")) == (200, "yes")
    caller = await bench.serve(request(target="/trade", body=b"x"))
    assert (caller.messages[0].status, caller.messages[0].body) == (400, b"no trade")
    assert [job.door for job in bench.hooks[0].identified] == ["trade"]
    assert (await bench.serve(request(target=f"{ONE}/x", body=b"x"))).messages[0].header("X-Traded") is None


@virtual_time
async def test_listeners_that_carry_different_doors_share_one_handler() -> None:
    """The same head on both: what was remembered of it at one listener must not count at the other."""
    bench = Bench(models=(MODEL,))
    both, inner, outer = DOORS, (ByocDoor(), LiveRunnerDoor()), (PlainDoor(),)
    for _ in range(2):
        for doors, byoc, plain in ((both, 200, 200), (inner, 200, 404), (outer, 404, 200)):
            bench.entrance = Entrance(doors)
            assert (await bench.serve(request(target=BYOC, body=b"x"))).messages[0].status == byoc
            caller = await bench.serve(request(target=f"{ONE}/x", body=b"x"))
            assert caller.messages[0].status == plain
            if plain == 404:
                assert refused(caller.messages[0]) is Code.UNKNOWN_MODEL
    assert bench.table.active(KEY) == 0


@virtual_time
async def test_what_no_door_of_a_listener_takes_is_told_nothing_of_the_models() -> None:
    bench = Bench(models=(MODEL,))
    bench.entrance = Entrance((LiveRunnerDoor(),))
    caller = await bench.serve(request(target="/image", body=b"x"))
    body = json.loads(caller.messages[0].body)
    assert body["message"] == "cannot serve the request: nothing is served under its path here"


@virtual_time
async def test_a_path_of_the_nodes_is_quoted_nowhere_even_where_the_node_has_no_door() -> None:
    bench = Bench(models=(MODEL,))
    bench.entrance = Entrance((PlainDoor(),))
    for target in (f"/live/{KEY.slug}/s3cret/x", f"http://h/live/{KEY.slug}/s3cret", f"/byoc/{KEY.slug}/s3cret"):
        caller = await bench.serve(request(target=target, body=b"x"))
        assert refused(caller.messages[0]) is Code.UNKNOWN_MODEL
        assert b"s3cret" not in caller.sent
    assert "s3cret" not in str(bench.log.lines)


def test_each_door_has_a_name_of_its_own_and_the_last_takes_what_is_left() -> None:
    assert len({door.name for door in DOORS}) == len(DOORS)
    assert all(door.name == door.origin.value for door in DOORS), "stored streams are told apart by it"
    for target in ("/", "*", "http://h/x", "/byoc", "/live/video-to-video", "/x" * 3000):
        assert Entrance(DOORS).enter(target) is DOORS[-1]


@pytest.mark.parametrize("folder", ["jobs", "relay", "sessions", "admin"])
def test_nobody_asks_by_which_way_a_job_has_come(folder: str) -> None:
    """Whoever needs to know that asks the door: else a new door would have to be known here, too."""
    for path in sorted((ORCHD / folder).rglob("*.py")):
        names = {node.id for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Name)}
        assert not names & {"Origin", "ByocDoor", "LiveRunnerDoor", "PlainDoor"}, path


@pytest.mark.parametrize("code", list(JOB_ANSWERS))
def test_no_refusal_of_any_kind_at_any_door_names_an_address_inside(code: Code) -> None:
    why = JobRefused(code, "cannot begin: GET http://172.29.0.2:8000/health at 10.0.0.5 says no")
    for door in DOORS:
        _, headers, body = door.refusal(why, "id")
        assert json.loads(body)["message"] == "cannot begin: GET /health at its address says no"
        assert b"172.29" not in b"".join(value for _, value in headers)
    assert json.loads(rendered(why, "id")[1])["message"].count("10.0.0.5") == 0


@virtual_time
async def test_the_log_says_where_it_was_and_the_caller_is_not_told() -> None:
    bench = Bench(models=(MODEL,), is_open=False)
    reason = "it fails its health probes: GET http://172.29.0.2:8000/health says 500"
    bench.table.set_closed(KEY, startable=False, code=Code.NOT_READY, reason=reason)
    bench.health = (False, reason)
    bench.server.use_node(Beside(asks_health=True))
    live = f"/live/{KEY.slug}/s3cret"
    for target in ("/image", f"{ONE}/x", f"{ONE}/health", BYOC, f"{live}/x"):
        caller = await bench.serve(request(target=target, method="GET" if "health" in target else "POST"))
        assert "its health probes: GET /health says 500" in json.loads(caller.messages[0].body)["message"]
    assert {line["reason"] for line in bench.log.lines} == {f"cannot begin a session of {KEY}: {reason}"}


@virtual_time
async def test_an_event_that_tells_of_an_error_names_no_address() -> None:
    bench = Bench(models=(MODEL,))
    bench.network.reply = None
    caller = bench.caller(request(target=BYOC, body=b"x"))
    runner = await bench.network.connected()
    await bench.settle()
    runner.say(answer(b"", ("Content-Type", "text/event-stream"), chunks=[b"data: 1\n\n"])[:-5])
    await bench.settle()
    bench.handler.abort_all("http://172.29.0.2:8000 is gone")
    await bench.idle()
    assert b"cannot go on: its address is gone" in caller.messages[0].body
