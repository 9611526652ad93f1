"""What a runtime shows, against what the loop knows -> what must be news to the loop. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from orchd.domain.ids import RunnerId
from orchd.domain.lifecycle import ALIVE, RunnerState
from orchd.domain.model import ContainerLaunch, Model
from orchd.domain.ports import SightedAs, Sighting
from orchd.domain.runtime_id import RuntimeId
from orchd.reconcile.runner import Runner

S = RunnerState


@dataclass(frozen=True, slots=True)
class Found:
    """One of our instance that the loop does not know: left by an earlier orchd."""

    sighting: Sighting


@dataclass(frozen=True, slots=True)
class Doubled:
    """A second one under an id that already has another handle."""

    sighting: Sighting


@dataclass(frozen=True, slots=True)
class Gone:
    """One that is to run does not."""

    runner: RunnerId
    why: str
    out_of_memory: bool = False


@dataclass(frozen=True, slots=True)
class SeenRunning:
    """Running as it is to; its address (it may have changed) and whether somebody paused it.

    `unasked`: the loop had only prepared it.
    """

    runner: RunnerId
    sighting: Sighting
    unasked: bool = False


News = Found | Doubled | Gone | SeenRunning

_RUNS = ALIVE - {S.PREPARED, S.STARTING}


def observe(
    runtime: RuntimeId, sightings: Iterable[Sighting], runners: Mapping[RunnerId, Runner], looked_at: float
) -> tuple[News, ...]:
    """Return what a look at all runners of `runtime` tells.

    Args:
        looked_at: loop time when the look began. A runner that a call has touched since then, or is touching now, is
            left for the next look: the sighting may be older than the call.
    """
    news: list[News] = []
    seen: set[RunnerId] = set()
    found: set[RunnerId] = set()
    for sighting in sightings:
        known = runners.get(sighting.runner)
        if known is None or (known.handle is None and not known.busy and known.state in (S.COLD, S.BACKOFF, S.FAILED)):
            news.append(Doubled(sighting) if sighting.runner in found else Found(sighting))
            found.add(sighting.runner)
            continue
        if known.busy or known.called_at >= looked_at:
            seen.add(sighting.runner)
            continue
        if known.handle is not None and known.handle != sighting.handle:
            news.append(Doubled(sighting))
            continue
        seen.add(sighting.runner)
        match sighting.status:
            case SightedAs.EXITED if known.state in ALIVE:
                news.append(Gone(known.id, _how_it_ended(sighting, known.model), sighting.oom_killed))
            case SightedAs.RUNNING | SightedAs.PAUSED if known.state in ALIVE:
                news.append(SeenRunning(known.id, sighting, unasked=known.state is S.PREPARED))
            case SightedAs.CREATED if known.state in _RUNS:
                news.append(Gone(known.id, "it was replaced by one that was never started"))
            case _:
                pass
    for runner in runners.values():
        if runner.runtime != runtime or runner.id in seen or runner.state not in ALIVE:
            continue
        if not (runner.busy or runner.called_at >= looked_at):
            news.append(Gone(runner.id, "it was removed by somebody else"))
    return tuple(news)


def _how_it_ended(sighting: Sighting, model: Model) -> str:
    if sighting.oom_killed:
        limit = model.launch.memory_bytes if isinstance(model.launch, ContainerLaunch) else None
        if limit is not None:
            return f"it was killed because it used more memory than it may (`memory` is {limit / 2**20:g} MiB)"
        return "it was killed by the kernel for want of memory on this machine; `dmesg` tells more"
    if sighting.exit_code is None:
        return "it exited"
    said = f"it exited with code {sighting.exit_code}"
    if sighting.exit_code in (137, -9):
        said += " (SIGKILL: somebody killed it, or the kernel for want of memory; `dmesg` tells)"
    return said
