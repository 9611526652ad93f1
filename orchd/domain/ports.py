"""Protocols of the edges, and the values that pass them. The middle of orchd sees only these.

Time has no port: everything in orchd takes `asyncio`'s loop clock (`loop.time()`, `asyncio.sleep`,
`asyncio.timeout`), and tests run it on a loop whose clock they move (`tests/virtual_time.py`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from orchd.domain.ids import Address, ModelKey, RunnerId
from orchd.domain.model import HealthSpec, Model, StopSpec, StreamSpec
from orchd.domain.runs import EndedRun, LogView
from orchd.domain.runtime_id import RuntimeId
from orchd.domain.whereabouts import Whereabouts


class SightedAs(StrEnum):
    CREATED = "created"
    """Prepared, never started."""
    RUNNING = "running"
    PAUSED = "paused"
    EXITED = "exited"


@dataclass(frozen=True, slots=True)
class Sighting:
    """One runner of our instance, as its runtime sees it now.

    Attributes:
        handle: the runtime's own name for it: container id, or process name.
        address: None unless running (or paused).
        exit_code: None unless exited; negative = minus the signal, for processes; 137 for a killed container.
        gpu_ids: what a GPU count was resolved to.
    """

    runner: RunnerId
    handle: str
    status: SightedAs
    address: Address | None = None
    exit_code: int | None = None
    oom_killed: bool = False
    gpu_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StopReport:
    """Which of the stop steps it took.

    Attributes:
        how: `already_gone`, `signal` (ended by the profile's signal), or `killed` (past the grace).
        exit_code: as in `Sighting`.
    """

    how: str
    exit_code: int | None = None


class HostSeen(NamedTuple):
    """Where runners reach the machine, or the container, that orchd runs on.

    Attributes:
        name: as they name it; empty = not known yet.
        address: of orchd's own at which it hears them; empty = that of loopback.
    """

    name: str = ""
    address: str = ""


class Runtime(Protocol):
    """Launches and ends runners of one kind, and remembers them across a kill of orchd.

    What a runtime makes bears the instance, the runner's id and its generation, so that `sightings()` alone is enough
    to adopt it. Every call is safe to repeat. A Runtime has no opinion: the planner says what to do.
    """

    id: RuntimeId

    @property
    def host_seen(self) -> HostSeen:
        """Where its runners reach orchd; it may change."""
        ...

    async def open(self) -> None:
        """Connect, take the instance's lock, create what all runners share. May be called again after a failure.

        Raises:
            EngineUnavailable: can't be reached now; call again later.
            AlreadyRunning: another daemon holds this instance.
        """

    async def sightings(self) -> tuple[Sighting, ...]:
        """Return every runner of our instance, running or not.

        Raises:
            EngineUnavailable: unknown; says nothing about the runners.
        """

    async def prepare(self, model: Model, runner: RunnerId, progress: Callable[[str], None]) -> str:
        """Do all that can fail before the runner starts, and return its handle. Idempotent by `runner`.

        Containers: pull by the entry's policy, telling `progress` one short line at a time, and create. Processes:
        check the command.

        Raises:
            LaunchError: with the reason in plain words.
            EngineUnavailable: not the entry's fault.
        """

    async def check(self, model: Model, progress: Callable[[str], None]) -> None:
        """Do what can fail before a runner of `model` is made again, without touching the one that runs.

        Containers: pull by the entry's policy, as `prepare` does. Processes: check the command.

        Raises:
            LaunchError, EngineUnavailable: as `prepare`.
        """

    async def start(self, handle: str) -> Address:
        """Start what was prepared and return where it will answer. Starting what runs already is fine.

        Raises:
            LaunchError, EngineUnavailable.
        """

    async def resume(self, handle: str) -> None:
        """Unpause a runner that was paused by hand."""

    async def stop(self, handle: str, stop: StopSpec) -> StopReport:
        """Send the signal, wait for the grace, kill; return how it ended. What is gone already is fine.

        Raises:
            EngineUnavailable.
        """

    async def remove(self, handle: str) -> None:
        """Remove what is left of it. What is gone already is fine.

        Raises:
            EngineUnavailable.
        """

    def whereabouts(self, handle: str) -> Whereabouts | None:
        """Return what is known of one that was started; None = nothing. Costs next to nothing: nobody is asked."""

    async def tail(self, handle: str, lines: int) -> tuple[str, ...]:
        """Return the last lines that it logged, oldest first; empty if there are none or it is gone."""

    def log(self, handle: str, view: LogView) -> AsyncGenerator[bytes, None]:
        """Yield its log as it wrote it, in pieces of bounded size; with `view.follow`, until its run ends.

        Who does not ask for the next piece holds the log's source up, and nothing else. Closing it lets go of all.

        Raises:
            LogGone: there is no such runner any more.
            EngineUnavailable: it can't be read now, or not at all.
        """
        ...

    async def keep_log(self, handle: str, run: EndedRun, secrets: Collection[str]) -> None:
        """Keep the last of its log, without `secrets`, for when it will have been removed.

        One that never ran has none. Never raises, and takes seconds at most: a disk that is full or hangs loses the
        log, and delays nothing.
        """

    async def why_unreachable(self, handle: str, model: Model, address: Address) -> str:
        """Return, in one short line, what may be the reason that nobody answers at its address; empty = nothing known.

        Asked about a runner that runs. Never raises.
        """

    async def watch(self, hurry: Callable[[], None]) -> None:
        """Run until cancelled: call `hurry` whenever something about our runners has changed.

        It only hurries the loop's next look; a lost or silent stream costs a delay, nothing else.
        """

    async def close(self) -> None:
        """Let go of connections and locks; runners go on."""


class ProbeWord(StrEnum):
    """What one probe says, after container contract 5.2."""

    READY = "ready"
    BUSY = "busy"
    LOADING = "loading"
    ERROR = "error"
    UNKNOWN = "unknown"
    """A word or body we can't read: keeps the verdict, counts nothing."""
    FAILED = "failed"
    """A code or body that is a failure."""
    TIMEOUT = "timeout"
    UNREACHABLE = "unreachable"
    """Refused, reset, no such name: loading inside the start window, else a failure."""
    VOID = "void"
    """Our own fault: the event loop stood still meanwhile, or we lacked descriptors. It says nothing of the runner."""


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What came of one probe.

    Attributes:
        evidence: one short line for a person: code and body, or the transport error; no secrets.
        duration_s: of the probe.
    """

    word: ProbeWord
    evidence: str
    duration_s: float = 0.0


class NodeSessions(Protocol):
    """Live Runner's sessions, for the part that listens to the node. Every call is synchronous and safe to repeat."""

    def reserved(self, key: ModelKey, session: str) -> None:
        """The node has reserved a session: take a slot for it. If none is free, the node is told to end it."""

    def released(self, key: ModelKey, session: str) -> None:
        """The node has ended it."""

    def listed(self, key: ModelKey, sessions: frozenset[str], asked_at: float) -> None:
        """The node has answered with all its sessions of a model to a question of `asked_at` (loop clock).

        Those that are new are reserved; those of ours that it lacks and that began before `asked_at` are released.
        """

    def forgotten(self, key: ModelKey, asked_at: float) -> None:
        """The node was restarted, or has not heard of us for too long: its sessions of before `asked_at` are gone."""


class Prober(Protocol):
    async def probe(
        self, address: Address, health: HealthSpec, *, early: bool, secrets: Collection[str] = ()
    ) -> ProbeResult:
        """Ask once, within `health.timeout_s`. Never raises for anything the runner does; our own want is `VOID`.

        `early`: still inside the start window (for `early_loading_codes`). `secrets`: taken out of what the runner says
        before any of it is cut short, since half of a secret would not be recognised afterwards.
        """

    async def close_streams(self, address: Address, stream: StreamSpec, timeout_s: float) -> str:
        """Ask the container to end its streams before it is stopped; return one line on what it said. Never raises."""


class Verdict(StrEnum):
    """What health tells the loop: one event per change."""

    READY = "ready"
    LOADING = "loading"
    FAILED = "failed"
    ERROR = "error"
