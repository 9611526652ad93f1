"""What the part `runtime` offers the parts above it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from orchd.domain.ports import Runtime
from orchd.domain.runtime_id import RuntimeId
from orchd.runtime.metrics import RuntimeCollector


class Runtimes(Protocol):
    """The runtimes that the settings allow.

    Attributes:
        by_id: those that the settings allow; the task that watches one opens it.
        collector: what is told whether one can be reached.
    """

    @property
    def by_id(self) -> Mapping[RuntimeId, Runtime]: ...

    @property
    def collector(self) -> RuntimeCollector: ...

    async def elsewhere(self) -> list[str]:
        """Return what processes of our instance another state directory has, in words."""
        ...
