"""Tells the history what became of an edit of the models file."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass

from orchd.domain.ids import ModelKey
from orchd.domain.model import Model
from orchd.domain.state import DesiredState, Problem, Severity
from orchd.history.ports import History, Kind

STEP = 25
"""Most entries that are compared before others run."""
MOST_TOLD = 200
"""Most problems of one reading that are told one by one."""
_IN_THE_FILE = {
    "launch.argv": "command",
    "launch.memory_bytes": "memory",
    "launch.shm_bytes": "shm_size",
    "launch.stop_signal": "stop.signal",
}
"""Fields of a launch that have another name in the models file."""


class EditsTold:
    """Compares each reading of the file with the one before.

    Args:
        last_good: definitions of the last run, by key.
    """

    def __init__(self, history: History, last_good: Mapping[ModelKey, Model]) -> None:
        self._history = history
        self._before = DesiredState(last_good)
        self._held: frozenset[ModelKey] = frozenset()

    async def tell(self, desired: DesiredState) -> None:
        """Tell what is new in this reading."""
        before, self._before = self._before, desired
        self._tell_problems(before.problems, desired)
        if _refused(desired):  # Then all of them are held over, which is not told a thousand times.
            return
        for key in sorted(desired.held_over - self._held):
            self._history.note(Kind.HELD_OVER, "it goes on from its last good definition", about=key)
        self._held = desired.held_over
        counts = {Kind.ADDED: 0, Kind.CHANGED: 0, Kind.REMOVED: 0}
        for number, key in enumerate((*desired.models, *(before.models.keys() - desired.models.keys())), 1):
            kind, why = _difference(before.models.get(key), desired.models.get(key))
            if kind is not None:
                counts[kind] += 1
                self._history.note(kind, why, about=key)
            if number % STEP == 0:
                await asyncio.sleep(0)
        if desired.file_hash != before.file_hash or any(counts.values()):
            said = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "nothing changes"
            self._history.note(Kind.FILE_APPLIED, f"models: {len(desired.models)}; {said}")

    def _tell_problems(self, known: Iterable[Problem], desired: DesiredState) -> None:
        told = set(known)
        new = [problem for problem in desired.problems if _is_error(problem) and problem not in told]
        for problem in new[:MOST_TOLD]:
            kind = Kind.EDIT_REFUSED if problem.entry is not None else Kind.FILE_REFUSED
            model = desired.models.get(problem.key) if problem.key is not None else None
            self._history.note(kind, str(problem), about=problem.key, model=model)


def _is_error(problem: Problem) -> bool:
    return problem.severity is Severity.ERROR


def _refused(desired: DesiredState) -> bool:
    """Return whether the file as a whole can't be used."""
    return any(_is_error(problem) and problem.entry is None for problem in desired.problems)


def _difference(before: Model | None, now: Model | None) -> tuple[Kind | None, str]:
    if now is None:
        return Kind.REMOVED, ""
    if before is None:
        return Kind.ADDED, now.source
    if now == before:
        return None, ""
    names = (_IN_THE_FILE.get(name, name.removeprefix("launch.")) for name in changed_fields(before, now))
    return Kind.CHANGED, ", ".join(names)


def changed_fields(before: object, now: object, within: str = "") -> Iterator[str]:
    """Yield the names of what differs; the values may hold secrets."""
    if type(before) is not type(now) or not is_dataclass(now):
        yield within.rstrip(".") or "launch"
        return
    for field in fields(now):
        old, new = getattr(before, field.name), getattr(now, field.name)
        if old == new:
            continue
        if not within and field.name != "price" and is_dataclass(new):
            yield from changed_fields(old, new, f"{field.name}.")
        else:
            yield f"{within}{field.name}"
