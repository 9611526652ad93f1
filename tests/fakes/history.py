"""What parts tell of what happened, in memory."""

from __future__ import annotations

from dataclasses import dataclass

from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.model import Model
from orchd.history.ports import Kind


@dataclass(frozen=True, slots=True)
class Noted:
    """One event, as it was told."""

    kind: Kind
    why: str
    about: ModelKey | RunnerId | None = None
    evidence: str = ""
    by: str = ""


class FakeHistory:
    """`history.ports.History`, in memory.

    Attributes:
        noted: oldest first.
        states: the last one of each runner that is there.
    """

    def __init__(self) -> None:
        self.noted: list[Noted] = []
        self.states: dict[RunnerId, tuple[str, str]] = {}

    def note(
        self,
        kind: Kind,
        why: str,
        *,
        about: ModelKey | RunnerId | None = None,
        evidence: str = "",
        by: str = "",
        model: Model | None = None,
    ) -> None:
        self.noted.append(Noted(kind, why, about, evidence, by))

    def stands(self, runner: RunnerId, state: str, why: str, model: Model | None = None) -> None:
        self.states[runner] = (state, why)

    def gone(self, runner: RunnerId) -> None:
        self.states.pop(runner, None)

    def kinds(self, about: ModelKey | None = None) -> list[Kind]:
        """Return what was told, or what was told of one model, oldest first."""
        return [each.kind for each in self.noted if about is None or _key(each.about) == about]


def _key(about: ModelKey | RunnerId | None) -> ModelKey | None:
    return about.key if isinstance(about, RunnerId) else about
