"""Two tiny Live Runner registries with a clock of their own, one as each node program: what `plan` has to cope with.

The real wire, with sockets, is that of `tests.doubles`. Source: docs/protocol/live-runner.md, 2; livepeer-node.md, 5.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

from orchd.advertise.live_runner.plan import RunnerRecord
from orchd.domain.offer import NodeProgram

SWEEP_S = 5.0
BOOTSTRAP = "s3cret"


class Said(NamedTuple):
    """An answer; `secret` only to the first heartbeat."""

    status: int
    text: str = ""
    secret: str = ""
    sessions: frozenset[str] = frozenset()


@dataclass
class Runner:
    secret: str
    record: RunnerRecord
    seen_at: float
    sessions: set[str] = field(default_factory=set)


class TinyNode(ABC):
    """`refuses` makes it answer 400 to all heartbeats."""

    program: ClassVar[NodeProgram]
    ttl_s: ClassVar[float]

    def __init__(self) -> None:
        self.now = 0.0
        self.runners: dict[str, Runner] = {}
        self.refuses = False
        self.numbers = itertools.count(1)

    def advance(self, seconds: float) -> None:
        before, self.now = self.now, self.now + seconds
        if before // SWEEP_S != self.now // SWEEP_S:
            for name in [name for name, runner in self.runners.items() if self.expired(runner)]:
                del self.runners[name]

    def restart(self) -> None:
        self.runners.clear()

    def expired(self, runner: Runner) -> bool:
        return self.now - runner.seen_at > self.ttl_s

    def found(self, name: str) -> bool:
        """Return whether a session could begin now."""
        runner = self.runners.get(name)
        if runner is None or self.expired(runner):
            return False
        return runner.record.ready and len(runner.sessions) < runner.record.capacity

    def reserve(self, name: str) -> str | None:
        """Return the new session, None if there is no free slot."""
        if not self.found(name):
            return None
        session = f"session_{next(self.numbers)}"
        self.runners[name].sessions.add(session)
        return session

    def new(self, name: str, record: RunnerRecord) -> Runner:
        runner = self.runners[name] = Runner(f"secret_{next(self.numbers)}", record, self.now)
        return runner

    def taken(self, runner: Runner, record: RunnerRecord, *, fresh: bool) -> Said:
        runner.record, runner.seen_at = record, self.now
        return Said(200, secret=runner.secret if fresh else "", sessions=frozenset(runner.sessions))

    @abstractmethod
    def heartbeat(self, name: str, record: RunnerRecord, secret: str) -> Said: ...

    @abstractmethod
    def probe(self, secret: str) -> Said:
        """Answer an empty heartbeat."""

    @abstractmethod
    def unregister(self, name: str, secret: str) -> Said: ...

    @abstractmethod
    def listed(self) -> dict[str, Runner]:
        """Return what discovery shows."""

    def records(self) -> dict[str, RunnerRecord]:
        """Return what it has, shown or not."""
        return {name: runner.record for name, runner in self.runners.items() if not self.expired(runner)}


class TinyGoLivepeer(TinyNode):
    program = NodeProgram.GO_LIVEPEER
    ttl_s = 20.0

    def heartbeat(self, name: str, record: RunnerRecord, secret: str) -> Said:
        assert record.ready, "any other status ends the charging of its jobs for good"
        if self.refuses:
            return Said(400, "no such price")
        runner = self.runners.get(name)
        if runner is None:
            if secret != BOOTSTRAP:
                return Said(401, "invalid registration authorization")
            return self.taken(self.new(name, record), record, fresh=True)
        if self.expired(runner):
            return Said(404, "runner not found")
        if secret != runner.secret:
            return Said(401, "invalid heartbeat authorization")
        return self.taken(runner, record, fresh=False)

    def probe(self, secret: str) -> Said:
        return Said(400, "invalid runner_url")

    def unregister(self, name: str, secret: str) -> Said:
        runner = self.runners.get(name)
        if runner is None or self.expired(runner):
            return Said(404, "runner not found")
        if secret != runner.secret:
            return Said(401, "invalid authorization")
        del self.runners[name]
        return Said(204)

    def listed(self) -> dict[str, Runner]:
        return {name: runner for name, runner in self.runners.items() if not self.expired(runner)}


class TinyLivepeerNode(TinyNode):
    program = NodeProgram.LIVEPEER_NODE
    ttl_s = 30.0

    def heartbeat(self, name: str, record: RunnerRecord, secret: str) -> Said:
        if not self._anybody(secret):
            return Said(401, "invalid runner credential")
        if self.refuses:
            return Said(400, "no such price")
        runner = self.runners.get(name)
        if secret != (runner.secret if runner else BOOTSTRAP):
            return Said(401, "invalid runner credential")
        return self.taken(runner or self.new(name, record), record, fresh=runner is None)

    def _anybody(self, secret: str) -> bool:
        return secret == BOOTSTRAP or any(secret == runner.secret for runner in self.runners.values())

    def probe(self, secret: str) -> Said:
        if not self._anybody(secret):
            return Said(401, "invalid runner credential")
        return Said(400, "app and capacity between 1 and 10000 are required")

    def unregister(self, name: str, secret: str) -> Said:
        runner = self.runners.get(name)
        if runner is None:
            return Said(404, "runner not found")
        if secret != runner.secret:
            return Said(401, "invalid runner credential")
        del self.runners[name]
        return Said(200, '{"ok":true}')

    def listed(self) -> dict[str, Runner]:
        return {name: runner for name, runner in self.runners.items() if self.found(name)}


TINY_NODES = (TinyGoLivepeer, TinyLivepeerNode)
