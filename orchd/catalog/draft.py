"""One entry on its way to a Model: its key, its fields with their names sorted out, and what is wrong with it. Pure.

Everything that is wrong is collected, not just the first: a field that can't be used is reported and set aside, and
the others are checked on. Values of fields that may hold secrets are never repeated.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError

from orchd.catalog.field_types import EXPECTED
from orchd.catalog.names import in_style_of, is_comment, near_miss, nearest_field, squash
from orchd.catalog.parse import RawEntry
from orchd.catalog.schema import SECTIONS, Entry
from orchd.catalog.values import model_name
from orchd.domain.ids import ModelKey
from orchd.domain.state import Problem, Severity
from orchd.errors import Code

KEY_FIELDS = ("pipeline", "model_id")
MAY_HOLD_SECRETS = frozenset(
    {"token", "token_file", "url", "command", "entrypoint", "args", "env", "optimization_flags", "labels"}
)
_MOST = 20
"""Faults, wrong values and unknown keys that are told one by one: an entry may hold any number of them."""
_LOOKED_AT = 200
"""Unknown keys that are looked at for slips."""
_SHOWN = 60
"""Characters of a value that are repeated in a message."""


@dataclass(frozen=True, slots=True)
class _Written:
    """A field as the operator wrote it."""

    path: tuple[str, ...]
    value: Any


@dataclass(frozen=True, slots=True)
class UnknownKey:
    """A key that is not a field.

    Attributes:
        path: as written.
        near: names of the field that was probably meant, which the entry does not have itself; empty = none.
        problem: index of its problem; None = it was one too many to be told.
    """

    path: tuple[str, ...]
    near: tuple[str, ...]
    problem: int | None


class Draft:
    """An entry that is being read.

    Args:
        strict: unknown keys are errors.

    Attributes:
        key: None if it can't be read.
        entry: the fields that could be read.
        problems: found so far, in order.
        unknown: keys that are no fields and no comments; not all, if there are many.
        more_unknown: how many more there are.
    """

    def __init__(self, raw: RawEntry, file: str, *, strict: bool = False) -> None:
        self.raw, self.file, self._strict = raw, file, strict
        self.problems: list[Problem] = []
        self.unknown: list[UnknownKey] = []
        self.more_unknown = 0
        self.key: ModelKey | None = None
        self.entry = _NOTHING
        self._written: dict[tuple[str, ...], _Written] = {}
        if isinstance(raw.value, dict):
            self._read(raw.value)
        else:
            self.error("cannot use this as an entry: it should be an object in { }")

    @property
    def bad(self) -> bool:
        return any(problem.severity is Severity.ERROR for problem in self.problems)

    @property
    def names(self) -> list[str]:
        """The fields that are there, usable or not, in the file's order."""
        return [path[0] for path in self._written if len(path) == 1]

    def has(self, name: str) -> bool:
        return (name,) in self._written

    def value(self, name: str) -> Any:
        """Return what is written for a field; None if it is absent."""
        written = self._written.get((name,))
        return written.value if written else None

    def spelling(self, name: str) -> str:
        """Return the name of a top-level field as it is written here."""
        written = self._written.get((name,))
        return written.path[0] if written else name

    def error(self, message: str, *path: str, code: Code = Code.ENTRY_INVALID) -> None:
        self._add(Severity.ERROR, message, path, code=code)

    def warning(self, message: str, *path: str) -> None:
        self._add(Severity.WARNING, message, path)

    def escalate(self, unknown: UnknownKey, message: str) -> None:
        """Make an error of what was only a warning of an unknown key."""
        if unknown.problem is None:
            self.error(message, *unknown.path)
        else:
            warning = self.problems[unknown.problem]
            self.problems[unknown.problem] = replace(warning, severity=Severity.ERROR, message=message)

    def _add(
        self,
        severity: Severity,
        message: str,
        path: tuple[str, ...],
        *,
        code: Code = Code.ENTRY_INVALID,
        unknown_key: bool = False,
    ) -> None:
        written = self._written.get(path)
        shown = written.path if written else path
        self.problems.append(
            Problem(
                severity,
                code,
                message,
                self.file,
                self.raw.line_of(*shown),
                entry=self.raw.index,
                field=".".join(shown),
                key=self.key,
                unknown_key=unknown_key,
            )
        )

    def _read(self, value: dict[str, Any]) -> None:
        self.key = key_of(self.raw)  # first, so that all problems bear it
        for fault in self.raw.faults[:_MOST]:
            self.error(fault)
        if self.raw.faults:
            return
        fields = self._fold(value, Entry, ())
        for name in KEY_FIELDS:
            if name not in fields:
                self.error(f"cannot do without {name}: it is part of the entry's key", name)
        self._validate(fields)

    def _fold(self, value: dict[str, Any], model: type[BaseModel], above: tuple[str, ...]) -> dict[str, Any]:
        """Return the known fields under their own names; null is absent."""
        names = _by_squashed(model)
        fields: dict[str, Any] = {}
        unknown: list[str] = []
        for written, item in value.items():
            if is_comment(written):
                continue
            path = (*(self._written[above].path if above else ()), written)
            name = names.get(squash(written))
            if name is None:
                unknown.append(written)
            elif item is None:
                continue
            elif name in fields and fields[name] != item:
                first = self._written[(*above, name)].path[-1]
                self.error(f"cannot tell which is meant: {written} and {first} differ; keep one", *above, name)
            elif name not in fields:
                fields[name] = item
                self._written[(*above, name)] = _Written(path, item)
                if not above and name in SECTIONS and isinstance(item, dict):
                    fields[name] = self._fold(item, SECTIONS[name], (name,))
        self._tell_unknown(unknown, model, above, fields)
        return fields

    def _tell_unknown(
        self, unknown: list[str], model: type[BaseModel], above: tuple[str, ...], there: Container[str]
    ) -> None:
        inside = self._written[above].path if above else ()
        for written in unknown[:_MOST]:
            path = (*inside, written)
            near = nearest_field(written, model.model_fields)
            hint = f"did you mean {in_style_of(written, near)}?" if near else "it means nothing to orchd"
            # Some slips are as near to another field (`pcus` to cpus as to gpus): each that is absent may be meant.
            lost = [each for each in model.model_fields if each == near or near_miss(written, (each,))]
            self.unknown += [
                UnknownKey(path, (*above, each), len(self.problems)) for each in lost if each not in there
            ] or [UnknownKey(path, (), len(self.problems))]
            self._unknown("unknown key", hint, path)
        self.unknown += [UnknownKey((*inside, written), (), None) for written in unknown[_MOST:_LOOKED_AT]]
        if len(unknown) > _MOST:
            self.more_unknown += len(unknown) - _MOST
            self._unknown("unknown keys", f"{len(unknown) - _MOST} more", inside)

    def _unknown(self, what: str, hint: str, path: tuple[str, ...]) -> None:
        severity, start = (Severity.ERROR, "cannot use ") if self._strict else (Severity.WARNING, "")
        self._add(severity, f"{start}{what}: {hint}", path, unknown_key=True)

    def _validate(self, fields: dict[str, Any]) -> None:
        try:
            self.entry = Entry.model_validate(fields)
        except ValidationError as exc:
            errors = exc.errors(include_url=False)
            for error in errors[:_MOST]:
                names = tuple(part for part in error["loc"] if isinstance(part, str))
                place = "".join(f" at position {part + 1}" for part in error["loc"] if isinstance(part, int))
                shown = "this value" if names[0] in MAY_HOLD_SECRETS else _shown(error["input"])
                self.error(f"cannot use {shown}{place}: {_expected(error['type'], error['msg'], error)}", *names)
            wrong = {error["loc"][0] for error in errors}
            self.entry = Entry.model_validate({name: item for name, item in fields.items() if name not in wrong})


_NOTHING = Entry()


@cache
def _by_squashed(model: type[BaseModel]) -> Mapping[str, str]:
    """Return the names of its fields, by what all spellings of each have in common."""
    return {squash(name): name for name in model.model_fields}


def key_of(raw: RawEntry) -> ModelKey | None:
    """Return the entry's key if it is beyond doubt: each half there once, or the same each time."""
    if not isinstance(raw.value, dict):
        return None
    written_for: dict[str, list[Any]] = {squash(name): [] for name in KEY_FIELDS}
    for written, item in raw.value.items():
        if (found := written_for.get(squash(written))) is not None and not is_comment(written):
            found.append(item)
    halves = []
    doubtful = {squash(name) for name in raw.repeated}
    for name, found in written_for.items():
        if not found or name in doubtful or any(item != found[0] for item in found):
            return None
        try:
            halves.append(model_name(found[0]))
        except ValueError:
            return None
    return ModelKey(*halves)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    if len(text) <= _SHOWN:
        return text
    return text[: _SHOWN - 3] + ('..."' if isinstance(value, str) else "...")


_INSTEAD = {("gpu",): "; which GPUs a container gets is the field gpus"}


def _expected(kind: str, message: str, error: Any) -> str:
    if kind == "string_pattern_mismatch":
        return EXPECTED[error["ctx"]["pattern"]]
    if kind in ("model_type", "model_attributes_type"):
        return "it should be an object in { }" + _INSTEAD.get(error["loc"], "")
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    return message.replace("Input should", "it should").replace("String should", "it should")
