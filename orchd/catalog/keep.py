"""What goes on running when the file, or an entry of it, is bad. Pure.

A slip of the pen must stop nothing: only a readable file that plainly no longer has a model takes it away.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType

from orchd.catalog.reading import Reading
from orchd.domain.ids import ModelKey
from orchd.domain.model import Model
from orchd.domain.state import DesiredState, Problem, Severity


def merge(reading: Reading, last_good: Mapping[ModelKey, Model], last_hash: str = "") -> DesiredState:
    """Return what is desired, given the newest reading and the last good definitions.

    - The file as a whole is bad: all of `last_good` goes on.
    - An entry is bad: its model goes on from `last_good`, if it is there.
    - An entry is so bad that its key can't be read: it could be any model that is missing, so they all go on.

    Args:
        last_hash: of the last file that applied; kept in the state where this one does not apply.
    """
    if not reading.usable:
        return DesiredState(MappingProxyType(dict(last_good)), reading.problems, frozenset(last_good), last_hash)
    errors = [problem for problem in reading.problems if problem.severity is Severity.ERROR]
    nameless = [problem for problem in errors if problem.key is None]
    missing = last_good.keys() - reading.models.keys()
    held = frozenset(missing if nameless else missing & {problem.key for problem in errors})
    models = {**reading.models, **{key: model for key, model in last_good.items() if key in held}}
    problems = reading.problems
    guessed = held - {problem.key for problem in errors}
    if guessed:
        problems += (_kept(nameless[0], guessed),)
    return DesiredState(MappingProxyType(models), problems, held, reading.file_hash)


def _kept(cause: Problem, keys: frozenset[ModelKey]) -> Problem:
    names = ", ".join(sorted(map(str, keys)))
    message = f"not removed, since this entry can't be told from them: {names}; mend or remove the entry"
    return replace(cause, severity=Severity.WARNING, message=message, field="")
