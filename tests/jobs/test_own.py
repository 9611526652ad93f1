"""Requests that a door answers itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from orchd.domain.origins import Origin
from orchd.doors.base import Door
from orchd.doors.entrance import Entrance
from orchd.doors.own import Answered, Dropped, OwnAnswer, OwnRequest
from orchd.doors.routes import Route, Served
from orchd.errors import Code, JobRefused
from orchd.hooks.hook import Waits
from orchd.hooks.job import Job
from orchd.hooks.refusal import Refusal
from orchd.http1.rules import RequestHead
from orchd.jobs.own_lines import EACH_S, MOST_KEPT
from orchd.lag import LoopLag, Timeout
from orchd.tasks import cancel, spawn
from tests.jobs.fakes import Bench, FakeHook
from tests.jobs.messages import refused, request
from tests.relay.transport import FakeTransport
from tests.virtual_time import settle, stand_still, virtual_time

MOST_BYTES = 1000
MIB = 1024 * 1024


@dataclass
class FakeKeeper:
    """Limits the addresses and payers that it is told to."""

    limited: set[str] = field(default_factory=set)
    counted: list[tuple[str, str, int]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    unknown: int = 0
    seconds: float = 5.0
    lag: LoopLag = field(default_factory=LoopLag)

    def timeout(self) -> Timeout:
        return self.lag.timeout(self.seconds)

    def limit_address(self, peer: str) -> None:
        self.asked.append(peer)
        if peer in self.limited:
            raise JobRefused(Code.RATE_LIMITED, f"cannot answer {peer}: too many requests")

    def check_address(self, peer: str) -> None:
        if peer in self.limited:
            raise JobRefused(Code.RATE_LIMITED, f"cannot answer {peer}: too many requests")

    def limit_payer(self, payer: str) -> None:
        self.limit_address(payer)

    def answered(self, door: str, route: str, status: int) -> None:
        self.counted.append((door, route, status))

    def not_found(self) -> None:
        self.unknown += 1


class QuoteDoor(Door):
    """Answers `/quote` by what it was made with."""

    name = "quote"
    origin = Origin.DIRECT
    public = True

    def __init__(
        self,
        answer: Callable[[OwnRequest], Answered | Awaitable[Answered]],
        body_bytes: int,
        drops: Dropped | None = None,
    ) -> None:
        self._way = OwnAnswer("quote", answer, body_bytes, drops)

    def takes(self, path: str) -> bool:
        return path == "/quote"

    def route(self, head: RequestHead, target: str, served: Served) -> Route:
        return self._way


class Arriving(FakeHook):
    """Hears of arrivals."""

    def arrive(self, job: Job) -> Waits:
        self.identified.append(job)
        return self.does("arrive")


def said(asked: OwnRequest) -> Answered:
    return Answered(200, asked.job.peer.encode() + b" " + asked.body)


class Quotes(Bench):
    """A listener with that one door."""

    def __init__(
        self,
        answer: Callable[[OwnRequest], Answered | Awaitable[Answered]] = said,
        *,
        hook: FakeHook | None = None,
        peer_of: Callable[[str, RequestHead], str] | None = None,
        body_bytes: int = MOST_BYTES,
        drops: Dropped | None = None,
    ) -> None:
        super().__init__(hooks=[hook or Arriving()])
        self.own = FakeKeeper()
        self.entrance = Entrance((QuoteDoor(answer, body_bytes, drops),), peer_of=peer_of, own=self.own)

    async def ask(self, data: bytes) -> FakeTransport:
        caller = self.caller(data)
        await self.settle()
        return caller


def hanging(ended: list[bool]) -> Callable[[OwnRequest], Awaitable[Answered]]:
    """Return an answer that never comes; notes when it is given up."""

    async def hang(asked: OwnRequest) -> Answered:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)
        raise AssertionError

    return hang


@virtual_time
async def test_a_door_answers_of_head_body_and_peer_and_no_job_is_counted() -> None:
    bench = Quotes()
    caller = await bench.ask(request(("Livepeer-Request-Id", "abc"), target="/quote", body=b"two words") * 2)
    for message in caller.messages:
        assert (message.status, message.body) == (200, b"192.0.2.1 two words")
        assert message.header("Livepeer-Request-Id") == "abc"
        assert message.header("Content-Type") == "application/json"
    assert bench.own.counted == [("quote", "quote", 200)] * 2
    assert len(bench.hooks[0].identified) == 2
    assert bench.outcomes == []
    assert bench.log.lines == []
    assert not caller.over


@pytest.mark.parametrize("behind", [b"", b"more"])
@virtual_time
async def test_a_body_in_pieces_is_waited_for_up_to_its_bound(behind: bytes) -> None:
    bench = Quotes()
    data = request(target="/quote", body=b"x" * MOST_BYTES + behind)
    caller = bench.caller(data[:-500])
    await bench.settle()
    if behind:
        assert refused(caller.messages[0]) is Code.BODY_TOO_LARGE
        assert bench.own.counted == [("quote", "quote", 413)]
        return
    assert caller.messages == []
    caller.say(data[-500:])
    await bench.settle()
    assert caller.messages[0].body.endswith(b"x" * MOST_BYTES)


@virtual_time
async def test_chunks_beyond_the_bound_and_bodies_that_stall_are_refused() -> None:
    bench = Quotes()
    caller = await bench.ask(request(target="/quote", chunks=[b"x" * MOST_BYTES, b"y"]))
    assert refused(caller.messages[0]) is Code.BODY_TOO_LARGE
    caller = await bench.ask(request(target="/quote", body=b"x" * 9)[:-1])
    await asyncio.sleep(bench.settings.between_bytes_timeout_s + 1)
    assert refused(caller.messages[0]) is Code.BODY_STALLED


@virtual_time
async def test_a_body_that_no_route_wants_is_not_waited_for() -> None:
    bench = Quotes(body_bytes=0)
    caller = await bench.ask(request(target="/quote", body=b"abc")[:-1])
    assert (caller.messages[0].status, caller.messages[0].body) == (200, b"192.0.2.1 ")


@virtual_time
async def test_an_answer_that_takes_too_long_is_cut_and_told_to_be_tried_again() -> None:
    ended: list[bool] = []
    bench = Quotes(hanging(ended))
    caller = await bench.ask(request(target="/quote"))
    await asyncio.sleep(bench.own.seconds + 0.1)
    assert refused(caller.messages[0]) is Code.ANSWER_LATE
    assert ended == [True]
    assert bench.own.counted == [("quote", "quote", 503)]


@virtual_time
async def test_an_answer_is_not_late_for_the_time_in_which_orchd_stood_still() -> None:
    async def slow(asked: OwnRequest) -> Answered:
        await asyncio.sleep(4)
        stand_still(10)
        await asyncio.sleep(0.5)
        return Answered(200, b"still in time")

    bench = Quotes(slow)
    measuring = spawn(bench.own.lag.run(), name="lag")
    caller = await bench.ask(request(target="/quote"))
    await asyncio.sleep(20)
    assert (caller.messages[0].status, caller.messages[0].body) == (200, b"still in time")
    await cancel(measuring)


@virtual_time
async def test_what_is_awaited_is_dropped_when_its_caller_leaves() -> None:
    ended: list[bool] = []
    bench = Quotes(hanging(ended))
    caller = await bench.ask(request(target="/quote"))
    caller.lose()
    await settle()
    assert ended == [True]
    assert bench.own.counted == [("quote", "quote", 0)]
    assert bench.outcomes == []


@virtual_time
async def test_an_address_above_its_rate_is_refused_before_hooks_and_door_are_asked() -> None:
    def never(asked: OwnRequest) -> Answered:
        raise AssertionError

    bench = Quotes(never)
    bench.own.limited.add("192.0.2.1")
    caller = await bench.ask(request(target="/quote"))
    assert refused(caller.messages[0]) is Code.RATE_LIMITED
    assert bench.hooks[0].identified == []
    assert bench.own.counted == [("quote", "quote", 429)]


@virtual_time
async def test_the_payers_rate_is_asked_by_the_door_once_it_knows_who_pays() -> None:
    def of_payer(asked: OwnRequest) -> Answered:
        asked.limit_payer("0xabc")
        return Answered(200, b"{}")

    bench = Quotes(of_payer)
    assert (await bench.ask(request(target="/quote"))).messages[0].status == 200
    bench.own.limited.add("0xabc")
    assert refused((await bench.ask(request(target="/quote"))).messages[0]) is Code.RATE_LIMITED


@virtual_time
async def test_a_hook_that_refuses_an_arrival_is_heard() -> None:
    bench = Quotes(hook=Arriving(fails={"arrive": JobRefused(Code.FORBIDDEN, "cannot serve you")}))
    caller = await bench.ask(request(target="/quote"))
    assert refused(caller.messages[0]) is Code.FORBIDDEN
    assert bench.own.counted == [("quote", "quote", 403)]


@virtual_time
async def test_a_bug_in_a_door_is_a_500_and_frees_the_connection() -> None:
    def broken(asked: OwnRequest) -> Answered:
        raise KeyError("no such thing")

    bench = Quotes(broken)
    caller = await bench.ask(request(target="/quote"))
    assert refused(caller.messages[0]) is Code.INTERNAL
    assert bench.own.counted == [("quote", "quote", 500)]
    assert not caller.over


@virtual_time
async def test_limits_and_hooks_go_by_the_address_that_the_listener_finds_in_the_head() -> None:
    def client(peer: str, head: RequestHead) -> str:
        assert peer == "192.0.2.1"
        return (head.value(b"x-forwarded-for") or b"").decode()

    bench = Quotes(peer_of=client)
    for address in ("203.0.113.5", "203.0.113.6"):
        caller = await bench.ask(request(("X-Forwarded-For", address), target="/quote"))
        assert caller.messages[0].body == f"{address} ".encode()
    assert bench.own.asked == ["203.0.113.5", "203.0.113.6"]
    assert [job.peer for job in bench.hooks[0].identified] == bench.own.asked


@virtual_time
async def test_what_no_door_takes_is_404_without_a_job_and_without_hooks() -> None:
    bench = Quotes()
    caller = await bench.ask(request(target="/models/image/org%2Fone"))
    body = json.loads(caller.messages[0].body)
    assert refused(caller.messages[0]) is Code.UNKNOWN_MODEL
    assert body["message"] == "cannot serve the request: nothing is served under its path here"
    assert bench.own.unknown == 1
    assert bench.hooks[0].identified == []
    assert bench.outcomes == []
    assert bench.log.lines == []


@virtual_time
async def test_what_was_refused_is_logged_once_a_minute_for_each_reason_and_payer() -> None:
    def refuse(asked: OwnRequest) -> Answered:
        payer = (asked.job.header(b"payer") or b"").decode()
        if payer:
            asked.limit_payer(payer)
        reason = (asked.job.header(b"reason") or b"").decode()
        raise Refusal(402, "cannot make terms", reason=reason)

    async def told(*asked: tuple[str, str]) -> list[tuple[str, str, int]]:
        with capture_logs() as lines:
            for payer, reason in asked:
                await bench.ask(request(("Payer", payer), ("Reason", reason), target="/quote"))
        return [(line["payer"], line["error"], line["more_since_last"]) for line in lines]

    bench = Quotes(refuse)
    with capture_logs() as lines:
        await bench.ask(
            request(("Payer", "0xa"), ("Reason", "no_funds"), ("Livepeer-Request-Id", "r"), target="/quote")
        )
    assert lines == [
        {
            "event": "answer_refused",
            "log_level": "info",
            "request_id": "r",
            "door": "quote",
            "route": "quote",
            "payer": "0xa",
            "code": "payment_required",
            "error": "no_funds",
            "reason": "cannot make terms",
            "status": 402,
            "more_since_last": 0,
        }
    ]
    assert await told(
        ("0xa", "no_funds"), ("0xa", "no_funds"), ("0xb", "no_funds"), ("0xa", "other"), ("", "other")
    ) == [
        ("0xb", "no_funds", 0),
        ("0xa", "other", 0),
        ("", "other", 0),
    ]
    await asyncio.sleep(EACH_S)
    assert await told(("0xa", "no_funds"), ("0xb", "no_funds")) == [("0xa", "no_funds", 2), ("0xb", "no_funds", 0)]


@virtual_time
async def test_payers_that_are_made_up_do_not_make_lines_without_end() -> None:
    def refuse(asked: OwnRequest) -> Answered:
        asked.limit_payer((asked.job.header(b"payer") or b"").decode())
        raise Refusal(402, "cannot make terms", reason="no_funds")

    async def ask(*numbers: int) -> list[str]:
        with capture_logs() as lines:
            for number in numbers:
                await bench.ask(request(("Payer", f"0x{number}"), target="/quote"))
        return [line["payer"] for line in lines]

    bench = Quotes(refuse)
    assert len(await ask(*range(MOST_KEPT + 5))) == MOST_KEPT + 1
    await asyncio.sleep(EACH_S)
    assert await ask(1_000_000) == ["0x1000000"]


def priced(asked: OwnRequest) -> Answered:
    return Answered(402, b"{}")


@virtual_time
async def test_a_body_is_dropped_behind_its_answer_as_far_as_the_route_says_and_the_next_request_is_served() -> None:
    bench = Quotes(priced, body_bytes=0, drops=Dropped(3 * MIB, 30))
    data = request(target="/quote", body=b"x" * 3 * MIB)
    caller = bench.caller(data[:500])
    await settle()
    assert [message.status for message in caller.messages] == [402], "before the body has come"
    assert caller.messages[0].header("Connection") is None
    caller.say(data[500 : 2 * MIB])
    await asyncio.sleep(29)
    caller.say(data[2 * MIB :] + request(target="/quote", body=b""))
    await settle()
    assert [message.status for message in caller.messages] == [402, 402]
    assert not caller.over


@virtual_time
async def test_a_body_of_unknown_length_is_dropped_as_far_too_and_its_answer_is_the_last() -> None:
    bench = Quotes(priced, body_bytes=0, drops=Dropped(3 * MIB, 30))
    caller = bench.caller(request(target="/quote", chunks=[b"x"])[:-5])
    await settle()
    assert caller.messages[0].header("Connection") == "close"
    sent = 0
    while not caller.lost and sent < 5 * MIB:
        caller.say(b"x" * 65536)
        sent += 65536
        await settle()
    assert 3 * MIB <= sent <= 3 * MIB + 2 * 65536


@pytest.mark.parametrize(("late_s", "served"), [(29.5, True), (30.5, False)])
def test_a_body_is_dropped_for_no_longer_than_the_route_says(late_s: float, served: bool) -> None:
    @virtual_time
    async def run() -> None:
        bench = Quotes(priced, body_bytes=0, drops=Dropped(3 * MIB, 30))
        data = request(target="/quote", body=b"x" * 100)
        caller = bench.caller(data[:-1])
        await asyncio.sleep(late_s)
        caller.say(data[-1:] + request(target="/quote"))
        await settle()
        assert len(caller.messages) == (2 if served else 1)

    run()


@virtual_time
async def test_a_route_that_drops_a_body_does_not_ask_for_one() -> None:
    bench = Quotes(priced, body_bytes=0, drops=Dropped(3 * MIB, 30))
    data = request(("Expect", "100-continue"), target="/quote", body=b"x" * 100)
    caller = await bench.ask(data[:-100])
    assert [message.status for message in caller.messages] == [402]
    assert caller.messages[0].header("Connection") == "close"


@virtual_time
async def test_what_one_route_drops_says_nothing_of_the_next_request() -> None:
    bench = Quotes(priced, body_bytes=0, drops=Dropped(30 * MIB, 30))
    caller = await bench.ask(request(target="/quote"))
    caller.say(request(target="/none", body=b"x" * 20 * MIB)[:500])
    await settle()
    assert [message.status for message in caller.messages] == [402, 404]
    assert caller.messages[1].header("Connection") == "close", "it is longer than the listener drops of any"
