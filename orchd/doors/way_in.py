"""What a name in `public.doors` stands for. Pure."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchd.domain.state import ClientsStatus
from orchd.doors.base import Door


@dataclass(frozen=True, slots=True)
class WayIn:
    """The doors of one kind of client, and what belongs to them.

    Attributes:
        doors: in the order in which they are tried.
        roots: by name, what returns a coroutine that is to run as long as orchd does; see `part.Roots`.
        clients: returns whether such clients come; None = that is not looked at.
    """

    doors: tuple[Door, ...]
    roots: Mapping[str, Callable[[], Coroutine[Any, Any, object]]] = field(default_factory=dict)
    clients: Callable[[], ClientsStatus] | None = None
