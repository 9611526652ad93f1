"""One seed's callers, runners, hooks and events, and what must hold whatever their order."""

from __future__ import annotations

import asyncio
import itertools
import random
import re
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from orchd.domain.ids import ModelKey
from orchd.errors import Code, JobRefused
from orchd.hooks.hook import Waits
from orchd.relay.wire import Wire
from orchd.sessions.session import Session
from tests.faults.message import Message
from tests.jobs.fakes import Bench, Charging, FakeHook, session_of
from tests.jobs.messages import ONE, SWITCHED, answer, request
from tests.jobs.model import ADDRESS, KEY, a_model, runner_of
from tests.relay.transport import FakeTransport
from tests.virtual_time import settle

REPLICAS = 3
EVER = 1e6
JOB = re.compile(rb"J\d+")
TOKEN = re.compile(rb"X-Job: (J\d+)\r\n")


@dataclass(eq=False)
class Peer:
    """One end of a connection. Attributes:
    jobs: of a caller: what it asks for, in order, by the token that request and answer are full of.
    left: the scenario ended the connection, or said what is not HTTP on it.
    """

    end: FakeTransport
    to_say: deque[bytes] = field(default_factory=deque)
    jobs: list[str] = field(default_factory=list)
    left: bool = False
    heard: int = 0


class Scenario:
    def __init__(self, seed: int) -> None:
        self.chance = chance = random.Random(seed)
        self.failing = chance.choice((0.0, 0.0, 0.03, 0.15))
        self.max_sessions = chance.randint(1, 3)
        self.open: set[int] = set()
        self.limits = [chance.choice((None, 1, 2)) for _ in range(REPLICAS)]
        self.last_active = 0
        self.on = [0] * REPLICAS
        self.wrong: list[str] = []
        self.waiting: list[asyncio.Future[None]] = []
        models = [a_model(max_sessions=self.max_sessions)]
        if chance.random() < 0.3:  # Then the body must name the model.
            models.append(a_model(ModelKey(KEY.pipeline, "org/two")))
        kinds = (RandomHook, RandomCharging)
        self.bench = Bench(
            models=tuple(models),
            hooks=[chance.choice(kinds)(self) for _ in range(2)],
            is_open=False,
            on_count=self.counted,
            header_timeout_s=EVER,
            keepalive_s=EVER,
            refused_body_s=EVER,
            runner_idle_s=chance.choice((4, EVER)),
            hook_timeout_s=chance.choice((2, 100)),
        )
        asyncio.get_running_loop().create_connection = self.dial  # type: ignore[method-assign, assignment]
        asyncio.get_running_loop().set_exception_handler(lambda loop, said: self.wrong.append(repr(said)))
        if chance.random() < 0.5:
            self.set_open(chance.randrange(REPLICAS))
        else:
            self.set_cold()
        self.made = 0
        self.early: set[str] = set()
        self.callers: list[Peer] = []
        self.runners: list[Peer] = []

    def counted(self, key: ModelKey, active: int) -> None:
        """Called by the table with every change: what begins must fit, where it begins."""
        if key == KEY:
            on = [self.bench.table.active_on(runner_of(KEY, n)) for n in range(REPLICAS)]
            if active > self.last_active:
                self.never(active > self.max_sessions, "more sessions than max_sessions")
                (where,) = (n for n in range(REPLICAS) if on[n] > self.on[n])
                self.never(where not in self.open, "a session began on a closed replica")
                limit = self.limits[where]
                self.never(limit is not None and on[where] > limit, "more than the replica's limit")
                free = [n for n in self.open if self.has_room(n, on)]
                self.never(any(on[where] - 1 > on[n] for n in free), "not the least loaded")
            self.last_active, self.on = active, on
        self.never(active < 0, "fewer sessions than none")

    def never(self, what: bool, why: str) -> None:
        """Note what must not be: an exception would be judged as the job's."""
        if what:
            self.wrong.append(why)

    def has_room(self, n: int, on: list[int]) -> bool:
        limit = self.limits[n]
        return limit is None or on[n] < limit

    def likely(self, share: float) -> bool:
        return self.chance.random() < share

    async def turn(self) -> None:
        """Wait until the scenario says so; then it may fail."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        try:
            await turn
        finally:
            if turn in self.waiting:
                self.waiting.remove(turn)

    # Callers.

    def arrive(self) -> None:
        jobs: list[str] = []
        data = b""
        upgrade = False
        for _ in range(self.chance.choice((1, 1, 1, 2, 3))):
            upgrade = self.likely(0.1)
            self.made += 1
            jobs.append(f"J{self.made}")
            data += self.a_request(jobs[-1], upgrade=upgrade)
            if upgrade:
                break
        peer = Peer(self.bench.caller(room=self.some_room()), jobs=jobs)
        if not upgrade and self.likely(0.05):
            data += b"this is not HTTP\r\n\r\n"
            jobs.append("")
        peer.to_say.extend(self.cut(data))
        self.callers.append(peer)

    def a_request(self, job: str, *, upgrade: bool) -> bytes:
        chance = self.chance
        headers = [("Livepeer-Request-Id", job), ("X-Job", job)]
        if upgrade:
            headers += [("Connection", "Upgrade"), ("Upgrade", "websocket")]
            return request(*headers, method="GET", target=f"{ONE}/ws")
        if self.likely(0.1):
            return request(*headers, method="GET", target=f"{ONE}/health")
        headers += [("X-Model-Id", KEY.model_id)] if self.likely(0.7) else [("Content-Type", "application/json")]
        body = job.encode() * chance.choice((0, 0, 1, 20))
        if self.likely(0.3):
            body = b'{"model_id": "org/one"}' + body
        if body and self.likely(0.2):
            headers.append(("Expect", "100-continue"))
        if self.likely(0.1):
            headers.append(("Connection", "close"))
        target = f"{ONE}/x" if self.likely(0.2) else "/image"
        if self.likely(0.5):
            return request(*headers, target=target, chunks=self.cut(body) if body else [])
        return request(*headers, target=target, body=body)

    def cut(self, data: bytes) -> list[bytes]:
        at = sorted(
            {0, len(data), *(self.chance.randint(0, len(data)) for _ in range(self.chance.choice((0, 0, 2, 4))))}
        )
        return [data[start:end] for start, end in itertools.pairwise(at)]

    def some_room(self) -> int | None:
        return self.chance.choice((None, None, None, 0, 50))

    # Runners.

    async def dial(self, factory: Callable[[], Wire], *_: Any, **__: Any) -> Any:
        if self.likely(0.5):
            await self.turn()
        if self.likely(self.failing):
            raise ConnectionRefusedError(111, "refused")
        protocol = factory()
        end = FakeTransport(protocol, self.some_room())
        self.runners.append(Peer(end))
        try:
            if self.likely(0.5):
                await asyncio.sleep(0)
        except BaseException:
            end.close()
            raise
        return end, protocol

    def listen(self, runner: Peer) -> None:
        """Think of an answer to what has come."""
        if runner.to_say or runner.left or runner.end.over:
            return
        tokens = TOKEN.findall(runner.end.sent)
        messages = runner.end.messages[runner.heard : runner.heard + 1]
        if not messages or not (messages[0].end or self.likely(0.1)):
            return
        token: bytes = tokens[runner.heard]
        theirs = set(JOB.findall(messages[0].body)) if messages[0].end else set()
        self.never(bool(theirs - {token}), "bytes of another job")
        runner.heard += 1
        if messages[0].end is None:
            self.early.add(token.decode())
        runner.to_say.extend(self.an_answer(messages[0], token, runner))

    def an_answer(self, asked: Message, token: bytes, runner: Peer) -> list[bytes]:
        job = ("X-Job", token.decode())
        body = token * self.chance.choice((0, 1, 20))
        data = answer(b"", status=103) if self.likely(0.1) else b""
        if asked.header("Upgrade") and self.likely(0.7):
            runner.heard = -1
            return self.cut(data + SWITCHED[:-2] + b"X-Job: %b\r\n\r\n" % token + token * 3)
        how = self.chance.choice(("sized", "sized", "chunked", "close", "until close"))
        if how == "until close":
            return [*self.cut(data + b"HTTP/1.1 200 Fine\r\nX-Job: %b\r\n\r\n%b" % (token, body)), b""]
        headers = (job, ("Connection", "close")) if how == "close" else (job,)
        status = self.chance.choice((200, 404, 500))
        chunks = (self.cut(body) if body else []) if how == "chunked" else None
        return self.cut(data + answer(body, *headers, status=status, chunks=chunks))

    # What may happen.

    def step(self, peer: Peer) -> None:
        if peer in self.runners:
            self.listen(peer)
        if peer.end.room is not None and self.likely(0.5):
            peer.end.take(self.chance.choice((None, 10, 100)))
        elif peer.to_say and not peer.left:
            piece = peer.to_say.popleft()
            if piece:
                peer.end.say(piece)
            else:
                self.hang_up(peer, peer.end.finish)

    def hang_up(self, peer: Peer, how: Callable[[], None]) -> None:
        if not peer.left:
            peer.left = True
            peer.to_say.clear()
            how()

    def leave(self, peers: list[Peer]) -> None:
        if peers:
            peer = self.chance.choice(peers)
            self.hang_up(peer, self.chance.choice((peer.end.finish, peer.end.lose, peer.end.vanish)))

    def set_open(self, n: int) -> None:
        self.open.add(n)
        self.bench.table.open(runner_of(KEY, n), ADDRESS, self.limits[n])

    def set_cold(self) -> None:
        self.bench.table.set_closed(KEY, startable=self.likely(0.8), code=Code.NOT_READY, reason="it is cold")

    def close_one(self) -> None:
        n = self.chance.randrange(REPLICAS)
        self.open.discard(n)
        self.bench.table.close(runner_of(KEY, n), Code.NOT_READY, "it was closed")

    def resize(self) -> None:
        self.max_sessions = self.chance.randint(1, 3)
        self.bench.table.define(KEY, self.max_sessions, self.chance.randint(0, 4))

    def rarely(self) -> None:
        n = self.chance.randrange(REPLICAS)
        match self.chance.randrange(13):
            case 0 | 1:
                self.leave(self.callers)
            case 2 | 3:
                self.leave(self.runners)
            case 4 | 5 | 6 | 7:
                self.set_open(n)
            case 8:
                self.close_one()
            case 9:
                self.bench.table.abort(runner_of(KEY, n), "the runner goes")
            case 10:
                self.resize()
            case 11:
                self.set_cold()
            case _ if self.likely(0.2):
                self.bench.handler.abort_all("a rehearsal")

    async def play(self) -> None:
        chance = self.chance
        left = chance.randint(1, 5)
        while left or self.under_way():
            what = chance.random()
            if left and what < 0.1:
                left -= 1
                self.arrive()
            elif what < 0.4 and self.waiting:
                self.pass_one()
            elif what < 0.94 and (peers := self.callers + self.runners):
                self.step(chance.choice(peers))
            elif what < 0.985:
                self.rarely()
            else:  # Time passes; sometimes so much that whoever waits is late.
                await asyncio.sleep(chance.choice((0.1, 0.5, 1.0, 1.0, 8.0, 61.0)))
            for _ in range(chance.choice((0, 0, 1, 2))):
                await asyncio.sleep(0)
            self.check_pool()
        await self.ended()
        self.check()

    def under_way(self) -> bool:
        return bool(self.bench.handler._running) or any(
            (peer.to_say or peer.end.inbox) and not peer.left and not peer.end.over for peer in self.callers
        )

    def pass_one(self) -> None:
        turn = self.waiting.pop(self.chance.randrange(len(self.waiting)))
        if not turn.done():
            turn.set_result(None)

    async def ended(self) -> None:
        """Nothing new happens; what began comes to its end."""
        for peer in self.callers + self.runners:
            peer.end.take()
        while self.under_way() or self.bench.handler._accounts:
            for peer in self.callers + self.runners:
                peer.end.take()
                self.step(peer)
            while self.waiting:
                self.pass_one()
            await asyncio.sleep(0.01)
        await settle()  # What was written in the last turn goes out.
        self.answers = [self.answers_of(peer) for peer in self.callers]
        self.over = [peer.end.over for peer in self.callers]
        for peer in self.callers:
            peer.end.take()
            peer.end.lose()
        await self.bench.server.close()
        await asyncio.sleep(0)

    # What must hold.

    def check_pool(self) -> None:
        for home in self.bench.pool._runners.values():
            for connection in home.idle:
                assert not connection.closed, "a closed connection idles"
                assert connection.exchange is None, "a busy connection idles"

    def check(self) -> None:
        bench = self.bench
        assert not self.wrong, self.wrong
        assert [hook.wrong for hook in bench.hooks if hook.wrong] == []
        for key in bench.models:
            assert bench.table.active(key) == 0, "a slot did not come back"
            assert bench.table.waiting(key) == 0, "a place did not come back"
        assert all(bench.table.active_on(runner_of(KEY, n)) == 0 for n in range(REPLICAS))
        begun = Counter(session.id for job in bench.hooks[0].identified if (session := session_of(job)) is not None)
        for hook in bench.hooks:
            assert Counter(session.id for session, _ in hook.settled) == begun, "not settled exactly once"
        logged = Counter(line["request_id"] for line in bench.log.lines)
        assert not logged or max(logged.values()) == 1, "a job was logged twice"
        assert len(bench.metrics.jobs) == logged.total()
        assert {job.request_id for job in bench.hooks[0].identified} <= set(logged), "a job was not logged"
        assert Code.INTERNAL not in bench.codes
        assert len(bench.pool) == 0
        assert all(peer.end.lost for peer in self.runners), "a connection to a runner was left"
        for peer, answers, over in zip(self.callers, self.answers, self.over, strict=True):
            self.check_answers(peer, answers, over, logged)

    def answers_of(self, peer: Peer) -> list[Message]:
        return [message for message in peer.end.messages if message.status >= 200 or message.status == 101]

    def check_answers(self, peer: Peer, answers: list[Message], over: bool, logged: Counter[str]) -> None:
        whole = [message for message in answers if message.end is not None]
        assert len(answers) <= len(peer.jobs), "more answers than requests"
        assert answers[: len(whole)] == whole
        for message, job in zip(answers, peer.jobs, strict=False):
            if not job:
                assert message.status == 400
            else:
                assert message.header("Livepeer-Request-Id") == job, "the answer to another request"
                theirs = message.header("X-Job")
                assert theirs in (None, job)
                if theirs:
                    assert job in logged
                    assert message.body.replace(job.encode(), b"") in [job.encode()[:n] for n in range(len(job))]
        if 101 in [message.status for message in answers]:
            tunnelled = bytes(peer.end.sent).rpartition(b"\r\n\r\n")[2]
            token = peer.jobs[-1].encode()
            assert tunnelled == (token * (len(tunnelled) // len(token) + 1))[: len(tunnelled)]
        elif not peer.left and len(whole) < len(peer.jobs):
            last = whole[-1] if whole and len(answers) == len(whole) else None
            # Who is answered early may be asked to leave by the end of the connection alone.
            closing = last is not None and (
                last.header("Connection") == "close" or peer.jobs[len(whole) - 1] in self.early
            )
            assert peer.end.socket.resets or (closing and over), "a request without an answer"


class RandomHook(FakeHook):
    def __init__(self, scenario: Scenario) -> None:
        super().__init__()
        self.scenario = scenario

    def does(self, call: str, session: Session | None = None) -> Waits:
        if self.scenario.likely(0.5):
            return self._later(call, session)
        self.fail()
        return None

    async def wait(self, call: str) -> None:
        if self.scenario.likely(self.scenario.failing / 3):
            await asyncio.Event().wait()
        await self.scenario.turn()
        self.fail()

    def fail(self) -> None:
        if self.scenario.likely(self.scenario.failing):
            raise self.scenario.chance.choice(
                (JobRefused(Code.FORBIDDEN, "cannot: no"), ValueError("a bug of the hook"))
            )


class RandomCharging(RandomHook, Charging):
    pass
