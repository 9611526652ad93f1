"""Runners of our instance that no known definition explains: said at once, removed late or never. Pure.

A definition may be missing by a slip (another state directory, a lost store, a file with a fault, a store of another
version), and what it would explain may be serving. So a stray is only removed when a models file has applied that
plainly does not ask for it, and some time after that, so that a person who reads the log can stop it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from orchd.domain.ids import ModelKey
from orchd.domain.ports import Sighting
from orchd.domain.runtime_id import RuntimeId
from orchd.domain.state import DesiredState, Severity

STRAY_GRACE_S = 60.0
"""Grace period of a stray in seconds: from when it is plain that it is not wanted (a file has applied, and nothing
spares it any more) until it is removed."""

NOT_APPLIED = "no models file has applied since orchd was started"


def spared(desired: DesiredState) -> Callable[[ModelKey], str]:
    """Return a function that says why nothing of a model may be taken away now.

    It returns an empty text where the file plainly does not ask for the model.
    """
    errors = [p for p in desired.problems if p.severity is Severity.ERROR and p.entry is not None]
    faulty = {p.key for p in errors}

    def why(key: ModelKey) -> str:
        if not desired.file_hash:
            return NOT_APPLIED
        if key in desired.models:
            return ""
        if key in faulty:
            return "its entry in the models file has an error"
        if None in faulty:
            return "an entry of the models file can't be read, and could be this model's"
        return ""

    return why


@dataclass(frozen=True, slots=True)
class Stray:
    """Something of this instance that no definition explains.

    Attributes:
        why: no definition explains it.
        spared: why it is left alone all the same; empty = it is not.
        remove_at: loop clock, seconds; None = while it is spared.
    """

    runtime: RuntimeId
    sighting: Sighting
    why: str
    spared: str
    remove_at: float | None


@dataclass(slots=True)
class Strays:
    """What is known of them. Times are of the loop clock."""

    _known: dict[str, Stray] = field(default_factory=dict)
    _of: dict[ModelKey, dict[str, None]] = field(default_factory=dict)

    def see(self, runtime: RuntimeId, sighting: Sighting, why: str, spared: str, now: float) -> bool:
        """Note one that was seen; return whether it is news."""
        known = self._known.get(sighting.handle)
        if known is not None and (known.why, known.spared) == (why, spared):
            return False
        remove_at = None
        if not spared:
            told = known.remove_at if known is not None else None
            remove_at = now + STRAY_GRACE_S if told is None else told
        self._known[sighting.handle] = Stray(runtime, sighting, why, spared, remove_at)
        self._of.setdefault(sighting.runner.key, {})[sighting.handle] = None
        return True

    def keep_only(self, runtime: RuntimeId, handles: frozenset[str]) -> None:
        """A look at all runners of `runtime` showed these handles as strays, and no others."""
        for handle in [h for h, stray in self._known.items() if stray.runtime == runtime and h not in handles]:
            self.forget(handle)

    def forget(self, handle: str) -> None:
        """It is no longer a stray. One that is not known is fine."""
        if (stray := self._known.pop(handle, None)) is not None:
            key = stray.sighting.runner.key
            del self._of[key][handle]
            if not self._of[key]:
                del self._of[key]

    def keys(self) -> Collection[ModelKey]:
        """Return the models that they say they are of."""
        return self._of.keys()

    def of(self, key: ModelKey) -> tuple[Stray, ...]:
        """Return those of one model."""
        return tuple(self._known[handle] for handle in self._of.get(key, ()))

    def due(self, why_spared: Callable[[ModelKey], str], now: float) -> tuple[Stray, ...]:
        """Return those that may be removed now."""
        return tuple(
            stray
            for stray in self._known.values()
            if stray.remove_at is not None and now >= stray.remove_at and not why_spared(stray.sighting.runner.key)
        )

    def all(self) -> tuple[Stray, ...]:
        return tuple(self._known.values())
