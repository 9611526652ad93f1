"""One entry on its way to a Model: its key, its fields with their names sorted out, and what is wrong with it. Pure.

Everything that is wrong is collected, not just the first: a field that can't be used is reported and set aside, and
the others are checked on. Values of fields that may hold secrets are never repeated.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ValidationError

from orchd.catalog.names import nearest, squash
from orchd.catalog.parse import RawEntry
from orchd.catalog.schema import EXPECTED, SECTIONS, Entry
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
_SHOWN = 60
"""Characters of a value that are repeated in a message."""


@dataclass(frozen=True, slots=True)
class _Written:
    """A field as the operator wrote it."""

    path: tuple[str, ...]
    value: Any


class Draft:
    """An entry that is being read.

    Attributes:
        key: None if it can't be read.
        entry: the fields that could be read.
        problems: found so far, in order.
    """

    def __init__(self, raw: RawEntry, file: str) -> None:
        self.raw, self.file = raw, file
        self.problems: list[Problem] = []
        self.key: ModelKey | None = None
        self.entry = Entry()
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

    def warning(self, message: str, *path: str, unknown_key: bool = False) -> None:
        self._add(Severity.WARNING, message, path, unknown_key=unknown_key)

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
        names = {squash(name): name for name in model.model_fields}
        fields: dict[str, Any] = {}
        unknown = 0
        for written, item in value.items():
            path = (*(self._written[above].path if above else ()), written)
            name = names.get(squash(written))
            if name is None:
                unknown += 1
                if unknown > _MOST:
                    continue
                near = nearest(written, model.model_fields)
                hint = f"did you mean {near}?" if near else "it means nothing to orchd"
                self.warning(f"unknown key: {hint}", *path, unknown_key=True)
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
        if unknown > _MOST:
            self.warning(f"unknown keys: {unknown - _MOST} more", *above, unknown_key=True)
        return fields

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


def key_of(raw: RawEntry) -> ModelKey | None:
    """Return the entry's key if it is beyond doubt: each half there once, or the same each time."""
    if not isinstance(raw.value, dict):
        return None
    halves = []
    doubtful = {squash(name) for name in raw.repeated}
    for name in KEY_FIELDS:
        found = [item for written, item in raw.value.items() if squash(written) == squash(name)]
        if not found or squash(name) in doubtful or any(item != found[0] for item in found):
            return None
        try:
            halves.append(model_name(found[0]))
        except ValueError:
            return None
    return ModelKey(*halves)


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _expected(kind: str, message: str, error: Any) -> str:
    if kind == "string_pattern_mismatch":
        return EXPECTED[error["ctx"]["pattern"]]
    if kind == "value_error":
        return message.removeprefix("Value error, ")
    return message.replace("Input should", "it should").replace("String should", "it should")
