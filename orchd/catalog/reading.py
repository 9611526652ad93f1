"""One reading of the file: bytes -> what it asks for and what is wrong with it. Pure: it reads by `FileContext`."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from orchd.catalog.golivepeer import traps
from orchd.catalog.launch import FileContext
from orchd.catalog.parse import parse
from orchd.catalog.resolve import resolve
from orchd.domain.ids import ModelKey
from orchd.domain.model import Model
from orchd.domain.state import Problem, Severity


@dataclass(frozen=True, slots=True)
class Reading:
    """What one reading of the file asks for, and what is wrong with it.

    Attributes:
        models: of the entries that could be used, in the file's order.
        file_hash: first 12 hex digits of the SHA-256; empty if the file as a whole can't be used.
    """

    models: Mapping[ModelKey, Model] = field(default_factory=lambda: MappingProxyType({}))
    problems: tuple[Problem, ...] = ()
    file_hash: str = ""

    @property
    def usable(self) -> bool:
        """The file as a whole could be read; entries of it may still be bad."""
        return bool(self.file_hash)

    def count(self, severity: Severity) -> int:
        return sum(problem.severity is severity for problem in self.problems)


def understand(data: bytes, context: FileContext) -> Reading:
    """Return what the file's bytes ask for. Never raises, whatever the bytes are."""
    parsed = parse(data, context.file)
    if isinstance(parsed, Problem):
        return Reading(problems=(parsed,))
    resolved = resolve(parsed.entries, context)
    problems = (*parsed.warnings, *resolved.problems, *traps(parsed.entries, context.file))
    return Reading(resolved.models, problems, hashlib.sha256(data).hexdigest()[:12])
