"""What a part's `status.py` offers: its block of `/status`, and how `orchd status` shows it.

Each such module has a `FACE`. The daemon makes `/status` of all of them (`status_view.py`), the command shows them all
(`cli/status_pages.py`); both walk `orchd.parts`, so neither knows the parts. A face is there even where its part is
switched off, so it imports nothing heavy, and shows what there is none of as nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import cache
from typing import Any

from orchd.domain.state import ModelStatus, Snapshot
from orchd.parts import faces
from orchd.text import TextStyle

Json = Mapping[str, Any]
"""A piece of `/status`."""


class Position(IntEnum):
    """Where on a page a section stands, from the top."""

    DAEMON = 10
    JOBS = 11
    PUBLIC = 12
    NODE = 13
    OFFERS = 14
    CHAIN = 15
    HOOKS = 16
    FILE = 17
    TOTALS = 18
    SOLD = 19
    CHANNELS = 20
    RUNTIMES = 21
    MODELS = 30
    """Made last, with the room that the others leave as the style's height."""
    PROBLEMS = 31
    REPLICAS = 32
    RUNNERS = 33
    NODE_OF_MODEL = 39
    REGISTRIES = 40
    STREAMS = 41
    LOGS = 50
    NEXT = 51
    EVENTS = 52
    MONEY = 60


Section = Callable[[Json, TextStyle], list[str]]
"""Makes its lines of all of `/status`; none if it has nothing to show."""


def _no_fields(of: object) -> Json:
    return {}


def _no_lines(*of: object) -> Mapping[str, str]:
    return {}


@dataclass(frozen=True, slots=True)
class StatusFace:
    """One part's share of status. What a part leaves out, it has nothing of.

    Attributes:
        whole: its fields of `/status`.
        of_model: its fields of a model. Text that others wrote must have been scrubbed of the model's secrets.
        overview, model_page: its sections of the page of all models, and of that of one, the only one in `/status`.
        facts: of a model, given `/status`: lines at the head of its page, by name; empty ones are left out.
        changes: one line for each thing that can change, by name; none of them changes by the mere passing of time.
        model_changes: the same of one model, given that model and all of `/status`.
    """

    whole: Callable[[Snapshot], Json] = _no_fields
    of_model: Callable[[ModelStatus], Json] = _no_fields
    overview: Mapping[Position, Section] = field(default_factory=dict)
    model_page: Mapping[Position, Section] = field(default_factory=dict)
    facts: Callable[[Json, Json], Mapping[str, str]] = _no_lines
    changes: Callable[[Json], Mapping[str, str]] = _no_lines
    model_changes: Callable[[Json, Json], Mapping[str, str]] = _no_lines


@cache
def status_faces() -> tuple[StatusFace, ...]:
    """Return the faces of all parts that have one, in start order."""
    return tuple(module.FACE for module in faces("status"))
