"""Plays a recording of a real program against its double and says, step by step, where they differ.

What is sent is the recording's request; what comes back, and what the worker saw, must be the recording's: status, all
headers but Date, the body to the byte. `<secret-1>` and the like stand for the value that was met in their place first.
Each double says which steps are played by rule; what else a file needs stands in its `Stage`.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from tests.doubles.shared.caller import Answer, Exchange
from tests.doubles.shared.clock import Clock
from tests.doubles.shared.recordings import (
    PLACEHOLDER,
    Differs,
    Step,
    comparable,
    eventually,
    expect,
    headers_of,
    learn,
    plain,
    watched,
)
from tests.doubles.shared.worker import Seen, shown


class Part(Protocol):
    """A worker behind the node."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...


class Watched(Part, Protocol):
    """The worker that remembers what it saw."""

    seen: list[Seen]
    sleeping: int
    active: int

    def take(self) -> tuple[list[Seen], int]: ...


class Double(AbstractAsyncContextManager[Any], Protocol):
    @property
    def connections(self) -> int: ...


P = TypeVar("P", bound="Player")
Action = Callable[[P], Awaitable[None]]


async def _nothing(_player: Player) -> None:
    return


@dataclass(frozen=True)
class Stage(Generic[P]):
    """What a file needs that its own steps don't bring about. Steps are named by their label."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    prepare: Action[P] = _nothing
    """Before the first step."""
    before: Mapping[str, Action[P]] = field(default_factory=dict)
    """What happened just before a step, beside the recorded requests."""
    instead: Mapping[str, Callable[[P, Step], Awaitable[None]]] = field(default_factory=dict)
    """How to do, and check, a step that isn't one recorded request."""


class Player:
    """One file on one fresh node. Each double says how a listener is reached, and what its recordings hold besides.

    Attributes:
        known: placeholder to value.
        heartbeat_at: when the first heartbeat was taken, on the clock: recordings count from there.
        host: what requests say in their Host header.
        to_ours: recorded addresses and this run's.
    """

    def __init__(self, stage: Stage[Any], node: Double, clock: Clock, worker: Watched, host: str) -> None:
        self.stage = stage
        self.clock = clock
        self.worker = worker
        self.known: dict[str, str] = {}
        self.heartbeat_at: float | None = None
        self.host = host
        self.parts: list[Part] = [worker]
        self.to_ours: dict[str, str] = {}
        self.to_theirs: dict[str, str] = {}
        self._double = node

    def url_of(self, listener: str) -> str:
        """Return the base URL of a recorded listener."""
        raise NotImplementedError

    def meanwhile(self, step: Step) -> None:
        """Take over what a step without a request says of the world around the node."""

    async def special(self, step: Step) -> bool:
        """Play a step of a kind that only this program's recordings have; False = it is of no such kind."""
        return False

    def body_of(self, text: str) -> bytes:
        """Return the body that a recorded text stands for."""
        return text.encode()

    def beside(self, step: Step) -> None:
        """Check what was recorded beside an answer; raises Differs."""

    def alike(self, recorded: str, found: str) -> tuple[str, str]:
        """Return both texts without what is random in this program's answers."""
        return recorded, found

    async def run(self, steps: list[dict[str, Any]], left_out: Callable[[Step], bool]) -> list[str | None]:
        """Return, per step, what differed; None = nothing did. Left-out steps differ in nothing."""
        async with self._double:
            for part in self.parts:
                await part.start()
            try:
                await self.stage.prepare(self)
                return [await self._judged(step, left_out(step)) for step in steps]
            finally:
                for part in self.parts:
                    await part.stop()

    async def _judged(self, step: Step, left_out: bool) -> str | None:
        if "request" not in step:
            self.meanwhile(step)
        try:
            if not left_out:
                await self._step(step)
        except Differs as difference:
            return str(difference)
        return None

    async def _step(self, step: Step) -> None:
        label = step["step"]
        if label in self.stage.before:
            await self.stage.before[label](self)
        if label in self.stage.instead:
            await self.stage.instead[label](self, step)
        elif watched(step):
            self.saw(step)
        elif "listed" in step:
            await self._polled(step)
        elif "target" in step.get("request", {}):
            await self.request(step)
        elif await self.special(step):
            return
        else:
            raise Differs("nobody knows how to replay this step: see what is left out, and the stages")

    async def request(self, step: Step) -> None:
        """Send a step's request and compare its answer."""
        if match := re.match(r"([\d.]+) s after the last heartbeat", step.get("note", "")):
            await self.since_heartbeat(float(match[1]))
        request, expected = step["request"], step["response"]
        # Within the step, the same value; in the next one it is another channel.
        self.known.pop("<channel>", None)
        headers = {name: self.ours(value) for name, value in request["headers"].items()}
        target, body = self.ours(request["target"]), self.body_of(self.ours(request["body"]))
        hang_up = expected.get("error", "").startswith("TimeoutError")
        answer = await self.exchange(step["listener"], request["method"], target, headers, body, hang_up=hang_up)
        if target == "/runners/heartbeat" and answer.status == 200 and self.heartbeat_at is None:
            self.heartbeat_at = self.clock.now()
        if hang_up:
            return
        self.same(expected, answer, cut="body cut to" in step.get("note", ""), no_body=self.any_body(target))
        self.beside(step)

    def any_body(self, target: str) -> bool:
        """Whether what is answered there is no part of the contract."""
        return False

    async def exchange(
        self, listener: str, method: str, target: str, headers: Mapping[str, str], body: bytes, *, hang_up: bool = False
    ) -> Answer:
        """Send one request and read its answer; time passes while the node or the worker waits for it to.

        With `hang_up` the caller leaves once the worker has the request.
        """
        exchange = Exchange(self.url_of(listener), self.host)
        asleep = self.worker.sleeping
        before = len(self.worker.seen)
        async with asyncio.TaskGroup() as tasks:
            sent = tasks.create_task(exchange.send(method, target, headers, body))
            while not sent.done():
                received = exchange.received
                await asyncio.wait([sent], timeout=0.02)
                if hang_up and len(self.worker.seen) > before:
                    exchange.hang_up()
                waits_for_worker = self.worker.sleeping > asleep
                goes_on_alone = 0 < exchange.received == received and self.worker.active == 0
                if (waits_for_worker and not hang_up) or goes_on_alone:
                    await self.clock.advance(0.5)
        if hang_up:
            await eventually(lambda: self._double.connections == 0, "the node has noticed that the caller left")
        return sent.result()

    async def send(
        self, listener: str, method: str, target: str, headers: Mapping[str, str], body: bytes = b""
    ) -> Answer:
        """Send one request and read its answer while time stands still."""
        return await Exchange(self.url_of(listener), self.host).send(method, target, headers, body)

    async def since_heartbeat(self, seconds: float) -> None:
        """Let time pass up to so many seconds after the heartbeat."""
        if self.heartbeat_at is None:
            raise Differs("no heartbeat was taken")
        await self.clock.advance(max(0.0, self.heartbeat_at + seconds - self.clock.now()))

    async def _polled(self, step: Step) -> None:
        """`discovery polled`: whether a runner is listed, so many seconds after its heartbeat."""
        await self.since_heartbeat(step["seconds_after_heartbeat"])
        answer = await self.exchange("service", "GET", "/discovery", {}, b"")
        if self.lists(answer.text) != step["listed"]:
            raise Differs(f"listed should be {step['listed']}: {answer.text}")

    def lists(self, discovery: str) -> bool:
        """Whether discovery shows any runner."""
        return bool(json.loads(discovery)[0].get("runners"))

    def saw(self, step: Step) -> None:
        """Check what the worker saw since the last such step; recordings keep the last requests only."""
        seen, peak = self.worker.take()
        self.compare_seen(step["worker_requests"], seen)
        if "peak_concurrency" in step and peak != step["peak_concurrency"]:
            raise Differs(f"at most {peak} requests at once and not {step['peak_concurrency']}")

    def compare_seen(self, expected: list[dict[str, Any]], seen: list[Seen]) -> None:
        """Raises Differs."""
        if len(seen) < len(expected) or (seen and not expected):
            raise Differs(f"the worker saw {len(seen)} requests and not {len(expected)}: {seen}")
        for recorded, request in zip(expected, seen[len(seen) - len(expected) :], strict=True):
            ours = {name: value for name, value in shown(request).items() if name in recorded}
            self.match(comparable(recorded), self.theirs(comparable(ours)))

    def same(self, expected: Mapping[str, Any], answer: Answer, *, cut: bool = False, no_body: bool = False) -> None:
        """Compare an answer with a recorded response; raises Differs."""
        if "error" in expected:
            if answer.status != 0:
                raise Differs(f"answered {answer.status} {answer.text[:200]!r} instead of closing the connection")
            return
        if answer.status != expected["status"]:
            raise Differs(f"status {answer.status} and not {expected['status']}: {answer.text[:300]!r}")
        expect(answer.broken_off, "broken_off" in expected, "the body ended early")
        if "body_hex" in expected:
            self.match(expected["body_hex"], answer.body.hex())
        else:
            recorded, text = expected["body"], self.theirs(answer.text)
            self.match("" if no_body else recorded, "" if no_body else text[: len(recorded)] if cut else text)
        theirs = headers_of(expected["headers"])
        ours = headers_of([list(pair) for pair in answer.headers])
        if set(theirs) != set(ours):
            raise Differs(f"headers {sorted(ours)} and not {sorted(theirs)}")
        for name, value in theirs.items():
            self.match(f"{name}: {value}", f"{name}: {self.theirs(ours[name])}")

    def match(self, recorded: str, found: str) -> None:
        """Compare with placeholders; those met for the first time are learnt. Raises Differs."""
        recorded, found = plain(recorded), plain(found)
        recorded = PLACEHOLDER.sub(lambda place: self.known.get(place.group(), place.group()), recorded)
        self.known |= learn(*self.alike(recorded, found))

    def ours(self, text: str) -> str:
        """Return a recorded text with our ports and this run's values."""
        for name, value in self.known.items():
            text = text.replace(name, value)
        return _replaced(text, self.to_ours)

    def theirs(self, text: str) -> str:
        return _replaced(text, self.to_theirs)


def _replaced(text: str, by: Mapping[str, str]) -> str:
    """Replace all at once: our port may be another one's recorded port."""
    return re.sub("|".join(map(re.escape, by)), lambda match: by[match.group()], text) if by else text
