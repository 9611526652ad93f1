"""Replays a recording of a real node against the double and says, step by step, where they differ.

What is sent is the recording's request; what comes back, and what the worker saw, must be the recording's: status, all
headers but Date, the body to the byte. `<secret-1>` and the like stand for the value that was met in their place first.
Rules pick the steps (`picked`): a new file needs no code here, unless it wants a node with a past (`stages`).
"""

from __future__ import annotations

import asyncio
import copy
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.doubles.golivepeer.chain import Chain
from tests.doubles.golivepeer.node import Node, NodeSettings
from tests.doubles.shared.caller import Answer, Exchange
from tests.doubles.shared.clock import Clock
from tests.doubles.shared.worker import RAW_WORKERS, RawWorker, Worker, shown

TRANSCRIPTS = Path(__file__).parents[1] / "transcripts"

# Where the recorded nodes and the recorded worker listened.
SERVICE = {"off": "127.0.0.1:8935", "on": "127.0.0.1:8946"}
WORKER_PORTS = (9901, 9911)

# `<channel>` means another value in every step; the others keep theirs within a file.
_PLACEHOLDER = re.compile(r"<(?:secret|session|runner|proxy)-\d+>|<channel>")
# Random in every answer, of a fixed length.
_RANDOM = re.compile(r'"(recipient_rand_hash|seed)":"[^"]*"')
# The recorded worker was a program in Python.
_PYTHON = re.compile(r"Python/3\.\d+")
# Longest wait, in real seconds, for the node or the worker to get to where a step wants it.
BOUND_S = 20.0


class Differs(Exception):
    """The double did not do what the recording says."""


Action = Callable[["Replay"], Awaitable[None]]


async def _nothing(_replay: Replay) -> None:
    return


@dataclass(frozen=True)
class Stage:
    """What a file needs that its own steps don't bring about. Steps are named by their label."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    prepare: Action = _nothing
    """Before the first step."""
    before: Mapping[str, Action] = field(default_factory=dict)
    """What happened just before a step, beside the recorded requests."""
    instead: Mapping[str, Callable[[Replay, Mapping[str, Any]], Awaitable[None]]] = field(default_factory=dict)
    """How to do, and check, a step that isn't one recorded request."""


Step = Mapping[str, Any]


def load(file: str) -> list[dict[str, Any]]:
    steps: list[dict[str, Any]] = json.loads((TRANSCRIPTS / file).read_text())
    return steps


def picked(file: str, step: Step) -> bool:
    """Whether a step is one request that the rules replay: on the service or CLI port, on chain without a payment."""
    if step.get("listener") not in ("service", "cli") or "target" not in step.get("request", {}):
        return False
    return not paid(file, step)


def paid(file: str, step: Step) -> bool:
    """Whether a step carries real tickets."""
    return file.startswith("onchain-") and "Livepeer-Payment" in step.get("request", {}).get("headers", {})


def watched(step: Step) -> bool:
    """Whether a step says what the worker saw, and nothing else."""
    return "worker_requests" in step and "request" not in step


class Replay:
    """One file on one fresh node."""

    def __init__(self, file: str, stage: Stage) -> None:
        chain = "on" if file.startswith("onchain-") else "off"
        defaults: dict[str, Any] = {"service_uri": f"https://{SERVICE[chain]}"}
        defaults |= {"use_live_runners": True} if chain == "off" else {"on_chain": Chain()}
        self.stage = stage
        self.clock = Clock()
        # A chain changes while a file runs, and the next run needs a fresh one.
        self.node = Node(NodeSettings(**defaults | copy.deepcopy(dict(stage.settings))), self.clock)
        self.worker = Worker(self.clock)
        self.known: dict[str, str] = {}
        """Placeholder to value."""
        self.heartbeat_at: float | None = None
        """When the first heartbeat was taken, on the clock: recordings count from there."""
        self._host = SERVICE[chain]
        self._raw = {port: RawWorker(serve) for port, serve in RAW_WORKERS.items()}
        ours = dict.fromkeys(WORKER_PORTS, self.worker.port) | {port: raw.port for port, raw in self._raw.items()}
        self._to_ours = {f"127.0.0.1:{port}": f"127.0.0.1:{own}" for port, own in ours.items()}
        recorded_first = WORKER_PORTS[1] if chain == "on" else WORKER_PORTS[0]
        self._to_theirs = {own: theirs for theirs, own in self._to_ours.items()}
        self._to_theirs[f"127.0.0.1:{self.worker.port}"] = f"127.0.0.1:{recorded_first}"

    async def run(self, steps: list[dict[str, Any]], left_out: Callable[[Step], bool]) -> list[str | None]:
        """Return, per step, what differed; None = nothing did. Left-out steps differ in nothing."""
        parts: list[Worker | RawWorker] = [self.worker, *self._raw.values()]
        async with self.node:
            for part in parts:
                await part.start()
            try:
                await self.stage.prepare(self)
                return [await self._judged(step, left_out(step)) for step in steps]
            finally:
                for part in parts:
                    await part.stop()

    async def _judged(self, step: Step, left_out: bool) -> str | None:
        if "request" not in step:
            self._chain_moves(step)
        try:
            if not left_out:
                await self._step(step)
        except Differs as difference:
            return str(difference)
        return None

    def _chain_moves(self, step: Step) -> None:
        """Some steps say where the chain has got to by then."""
        chain, said = self.node.settings.on_chain, step.get("chain")
        if chain is not None and said is not None:
            chain.block = said["block"]
            chain.round, chain.round_block_hash = said["last_initialized_round"], said["block_hash_for_last_round"]
            chain.initialized = said["current_round_initialized"]

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
            await self._request(step)
        else:
            raise Differs("nobody knows how to replay this step: see steps_left_out.py and stages.py")

    async def _request(self, step: Step) -> None:
        if match := re.match(r"([\d.]+) s after the last heartbeat", step.get("note", "")):
            await self.since_heartbeat(float(match[1]))
        request, expected = step["request"], step["response"]
        # Within the step, the same value; in the next one it is another channel.
        self.known.pop("<channel>", None)
        headers = {name: self.ours(value) for name, value in request["headers"].items()}
        target, body = self.ours(request["target"]), self.ours(request["body"]).encode()
        hang_up = expected.get("error", "").startswith("TimeoutError")
        answer = await self.exchange(step["listener"], request["method"], target, headers, body, hang_up=hang_up)
        if target == "/runners/heartbeat" and answer.status == 200 and self.heartbeat_at is None:
            self.heartbeat_at = self.clock.now()
        if hang_up:
            return
        # Which metrics there are is no part of the contract.
        self.same(expected, answer, cut="body cut to" in step.get("note", ""), no_body=target == "/metrics")
        if "uri_on_chain" in step:
            self._uris(step)

    def _uris(self, step: Step) -> None:
        """Recorded beside the answer: what the registry says by now, and what the node calls itself."""
        chain = self.node.settings.on_chain
        assert chain is not None
        uri = self.node.service_uri if chain.uri is None else chain.uri
        if (uri, self.node.service_uri) != (step["uri_on_chain"], step["service_addr_in_token"]):
            raise Differs(f"the chain says {uri}, tokens {self.node.service_uri}")

    async def exchange(
        self, listener: str, method: str, target: str, headers: Mapping[str, str], body: bytes, *, hang_up: bool = False
    ) -> Answer:
        """Send one request and read its answer; time passes while the node or the worker waits for it to.

        With `hang_up` the caller leaves once the worker has the request.
        """
        url = self.node.service_url if listener == "service" else self.node.cli_url
        exchange = Exchange(url, self._host)
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
            await eventually(lambda: self.node.connections == 0, "the node has noticed that the caller left")
        return sent.result()

    async def send(
        self, listener: str, method: str, target: str, headers: Mapping[str, str], body: bytes = b""
    ) -> Answer:
        """Send one request and read its answer while time stands still."""
        url = self.node.service_url if listener == "service" else self.node.cli_url
        return await Exchange(url, self._host).send(method, target, headers, body)

    async def since_heartbeat(self, seconds: float) -> None:
        """Let time pass up to so long after the heartbeat."""
        if self.heartbeat_at is None:
            raise Differs("no heartbeat was taken")
        await self.clock.advance(max(0.0, self.heartbeat_at + seconds - self.clock.now()))

    async def _polled(self, step: Step) -> None:
        """`discovery polled`: whether a runner is listed, so long after its heartbeat."""
        await self.since_heartbeat(step["seconds_after_heartbeat"])
        answer = await self.exchange("service", "GET", "/discovery", {}, b"")
        if ('"runners"' in answer.text) != step["listed"]:
            raise Differs(f"listed should be {step['listed']}: {answer.text}")

    def saw(self, step: Step) -> None:
        """Check what the worker saw since the last such step; recordings keep the last requests only."""
        seen, peak = self.worker.take()
        expected = step["worker_requests"]
        if len(seen) < len(expected) or (seen and not expected):
            raise Differs(f"the worker saw {len(seen)} requests and not {len(expected)}: {seen}")
        for recorded, request in zip(expected, seen[len(seen) - len(expected) :], strict=True):
            self._match(_comparable(recorded), self.theirs(_comparable(shown(request))))
        if "peak_concurrency" in step and peak != step["peak_concurrency"]:
            raise Differs(f"at most {peak} requests at once and not {step['peak_concurrency']}")

    def same(self, expected: Mapping[str, Any], answer: Answer, *, cut: bool = False, no_body: bool = False) -> None:
        """Compare an answer with a recorded response; raises Differs."""
        if "error" in expected:
            if answer.status != 0:
                raise Differs(f"answered {answer.status} {answer.text[:200]!r} instead of closing the connection")
            return
        if answer.status != expected["status"]:
            raise Differs(f"status {answer.status} and not {expected['status']}: {answer.text[:300]!r}")
        if "body_hex" in expected:
            self._match(expected["body_hex"], answer.body.hex())
        else:
            recorded, text = expected["body"], self.theirs(answer.text)
            self._match("" if no_body else recorded, "" if no_body else text[: len(recorded)] if cut else text)
        theirs = _headers(expected["headers"])
        ours = _headers([list(pair) for pair in answer.headers])
        if set(theirs) != set(ours):
            raise Differs(f"headers {sorted(ours)} and not {sorted(theirs)}")
        for name, value in theirs.items():
            self._match(f"{name}: {value}", f"{name}: {self.theirs(ours[name])}")

    def _match(self, recorded: str, found: str) -> None:
        """Compare with placeholders; those met for the first time are learnt."""
        recorded, found = (_PYTHON.sub("Python/3", _RANDOM.sub(r'"\1":"*"', text)) for text in (recorded, found))
        names: dict[str, str] = {}
        pattern, end = "", 0
        for place in _PLACEHOLDER.finditer(recorded):
            pattern += re.escape(recorded[end : place.start()])
            end = place.end()
            name = place.group()
            if name in self.known:
                pattern += re.escape(self.known[name])
            elif name in names:
                pattern += f"(?P={names[name]})"
            else:
                names[name] = f"p{len(names)}"
                pattern += f"(?P<{names[name]}>[A-Za-z0-9_=-]+?)"
        match = re.fullmatch(pattern + re.escape(recorded[end:]), found, re.DOTALL)
        if match is None:
            raise Differs(f"\n  recorded {recorded!r}\n  found    {found!r}")
        self.known |= {name: match[group] for name, group in names.items()}

    def ours(self, text: str) -> str:
        """Return a recorded text with our ports and this run's values."""
        for name, value in self.known.items():
            text = text.replace(name, value)
        for theirs, own in self._to_ours.items():
            text = text.replace(theirs, own)
        return text

    def theirs(self, text: str) -> str:
        for own, theirs in self._to_theirs.items():
            text = text.replace(own, theirs)
        return text


def _headers(pairs: list[list[str]]) -> dict[str, str]:
    return {name.lower(): value for name, value in pairs if name.lower() != "date"}


def _comparable(request: Mapping[str, Any]) -> str:
    """Header order says nothing, and a WebSocket key is random."""
    text = json.dumps({**request, "headers": sorted(request["headers"])})
    return re.sub(r'(?<="Sec-WebSocket-Key", ")[^"]*', "*", text)


async def eventually(holds: Callable[[], bool], what: str) -> None:
    """Wait, in real time, until `holds`; raises Differs if it never does."""
    try:
        async with asyncio.timeout(BOUND_S):
            while True:
                if holds():
                    return
                await asyncio.sleep(0.005)
    except TimeoutError:
        raise Differs(f"never happened: {what}") from None
