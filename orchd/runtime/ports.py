"""What the part `runtime` offers the parts above it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from typing import Protocol

from orchd.domain.details import HostGpu
from orchd.domain.ids import ModelKey
from orchd.domain.ports import HostSeen, Runtime
from orchd.domain.runs import KeptRun
from orchd.domain.runtime_id import RuntimeId
from orchd.runtime.metrics import RuntimeCollector


class KeptRuns(Protocol):
    """The logs of runs that have ended, off the event loop. Every call raises OSError where they can't be read."""

    async def runs(self, key: ModelKey) -> list[KeptRun]:
        """Return the kept runs of a model, the newest of each replica last."""
        ...

    async def models(self) -> set[ModelKey]:
        """Return the models of which a log is kept."""
        ...

    def read(self, kept: KeptRun, lines: int | None) -> AsyncGenerator[bytes, None]:
        """Yield the last lines of a kept log, in pieces of bounded size; None = all of it."""
        ...


class Runtimes(Protocol):
    """The runtimes that the settings allow.

    Attributes:
        by_id: those that the settings allow; the task that watches one opens it.
        kept: logs of runs that have ended.
        collector: what is told whether one can be reached.
    """

    @property
    def by_id(self) -> Mapping[RuntimeId, Runtime]: ...

    @property
    def kept(self) -> KeptRuns: ...

    @property
    def collector(self) -> RuntimeCollector: ...

    @property
    def host_seen(self) -> HostSeen:
        """Where containers reach orchd; its name is empty while the engine has not said. Without one it is loopback."""
        ...

    async def gpus(self) -> Sequence[HostGpu]:
        """Return the GPUs that containers can have on this machine.

        Raises:
            LaunchError: the driver can't tell.
        """
        ...

    async def elsewhere(self) -> list[str]:
        """Return what processes of our instance another state directory has, in words."""
        ...
