"""What edges and operators tell the loop. Frozen values; the loop takes them one by one."""

from __future__ import annotations

from dataclasses import dataclass

from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.ports import ProbeWord, Verdict
from orchd.domain.state import DesiredState, Stopped


@dataclass(frozen=True, slots=True)
class DesiredChanged:
    """The file was read: this is what it asks for now (bad entries already replaced by their last good)."""

    desired: DesiredState


@dataclass(frozen=True, slots=True)
class HealthChanged:
    """A runner's verdict changed, or what is to be said of it. `word` and `evidence` are the last probe's.

    Attributes:
        doubt: why one that is ready may not be well, in plain words; empty = it is.
    """

    runner: RunnerId
    verdict: Verdict
    word: ProbeWord
    evidence: str
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class StartWanted:
    """A job waits for a cold model."""

    key: ModelKey


@dataclass(frozen=True, slots=True)
class RestartAsked:
    """`orchd restart MODEL`: drain and start again; a model that was given up is tried again."""

    key: ModelKey


@dataclass(frozen=True, slots=True)
class StopChanged:
    """`orchd stop MODEL`: drain and stop it, and keep it so; or `orchd start MODEL` (None): it may run again."""

    key: ModelKey
    stopped: Stopped | None


Event = DesiredChanged | HealthChanged | StartWanted | RestartAsked | StopChanged
