"""One case: a sample exchange and at most one fault in it; where the caller and the runner of the test meet."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import dataclass, field

from tests.faults.rules import Fault, Where
from tests.faults.samples import Sample

_numbers = itertools.count(1)


def _open() -> asyncio.Event:
    gate = asyncio.Event()
    gate.set()
    return gate


@dataclass(eq=False)
class Case:
    """Attributes:
    at_fault: the runner has come to the point of the fault, and (unless it stalls) has left.
    go_on: the runner may answer.
    over: the caller has seen its end.
    served: the runner has seen its end.
    met: times that the request came to the runner, read or not.
    kept: of those, on a connection that had served another request before.
    whole: times that the runner read all of it; `head_size` and `size` are what it read then.
    garbled: what the runner got that was not meant; empty = nothing.
    """

    sample: Sample
    fault: Fault | None = None
    number: int = field(default_factory=lambda: next(_numbers))
    at_fault: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=_open)
    over: asyncio.Event = field(default_factory=asyncio.Event)
    served: asyncio.Event = field(default_factory=asyncio.Event)
    met: int = 0
    kept: int = 0
    whole: int = 0
    head_size: int = 0
    size: int = 0
    garbled: str = ""

    def __str__(self) -> str:
        fault = f", {self.fault.where} {self.fault.how} after byte {self.fault.n}" if self.fault else ""
        return f"case {self.number}: {self.sample.name}{fault}"

    def at(self, where: Where) -> int | None:
        """Return the byte of the fault, if it is one of these."""
        return self.fault.n if self.fault is not None and self.fault.where is where else None
