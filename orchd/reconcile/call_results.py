"""What became of calls to the runtimes, and what the runtimes show: values that the loop takes in."""

from __future__ import annotations

from dataclasses import dataclass

from orchd.domain.ids import Address, RunnerId
from orchd.domain.ports import Sighting, StopReport
from orchd.domain.runtime_id import RuntimeId


@dataclass(frozen=True, slots=True)
class PrepareDone:
    id: RunnerId
    handle: str


@dataclass(frozen=True, slots=True)
class StartDone:
    id: RunnerId
    address: Address


@dataclass(frozen=True, slots=True)
class LaunchFailed:
    """A prepare, start or resume did not work.

    Attributes:
        blameless: the runtime itself is away, so nothing more is asked of it until it has shown its runners again.
        passing: the cause will pass by itself: it does not count, and is tried again for ever.
    """

    id: RunnerId
    reason: str
    blameless: bool
    passing: bool = False


@dataclass(frozen=True, slots=True)
class CheckDone:
    """All that a new start needs is here."""

    id: RunnerId


@dataclass(frozen=True, slots=True)
class CheckFailed:
    """A new start would not work; what runs was not touched. `blameless`: as in `LaunchFailed`."""

    id: RunnerId
    reason: str
    blameless: bool


@dataclass(frozen=True, slots=True)
class UnpauseDone:
    id: RunnerId


@dataclass(frozen=True, slots=True)
class RunnerEnded:
    """Stopped and removed. `handle`: of what was; None = there was nothing."""

    id: RunnerId
    handle: str | None
    report: StopReport
    last_log: tuple[str, ...]
    streams: str


@dataclass(frozen=True, slots=True)
class RunnerEndFailed:
    """It may still be there; to be tried again."""

    id: RunnerId
    reason: str


@dataclass(frozen=True, slots=True)
class PrepareProgress:
    id: RunnerId
    text: str


@dataclass(frozen=True, slots=True)
class RunnersListed:
    """All runners of one runtime. `at`: loop time when the look began."""

    runtime: RuntimeId
    at: float
    sightings: tuple[Sighting, ...]


@dataclass(frozen=True, slots=True)
class RuntimeDown:
    runtime: RuntimeId
    reason: str


@dataclass(frozen=True, slots=True)
class StrayRemoval:
    """The removal of a stray has ended. `gone`: well; else it is tried again after the next look."""

    runtime: RuntimeId
    handle: str
    gone: bool


CallResult = (
    PrepareDone
    | CheckDone
    | CheckFailed
    | StartDone
    | LaunchFailed
    | UnpauseDone
    | RunnerEnded
    | RunnerEndFailed
    | PrepareProgress
    | RunnersListed
    | RuntimeDown
    | StrayRemoval
)
