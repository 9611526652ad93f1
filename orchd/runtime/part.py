"""The runtimes, as a part: which kinds of runners can be launched here. Who looks at them opens them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchd.domain.details import HostGpu
from orchd.domain.model import RunnerKind
from orchd.domain.ports import HostSeen, Runtime
from orchd.domain.runtime_id import RuntimeId
from orchd.domain.signal import Signal
from orchd.part import Context, Part
from orchd.runtime.keep import KeptReader
from orchd.runtime.make import make_runtimes
from orchd.runtime.metrics import RuntimeCollector
from orchd.runtime.process.marks import Marks
from orchd.threads import DaemonThreads

MARKS_TIMEOUT_S = 10.0
"""Reading the marks of processes takes milliseconds; longer means that /proc hangs."""

GPUS_TIMEOUT_S = 5.0
"""The driver takes a second or two; what waits for it is what clients are offered."""


class RuntimesPart(Part):
    """After `ports.Runtimes`.

    Opening a runtime may take long, and an engine that is away must delay nothing but its own runners: so runtimes are
    opened by the tasks that look at them (`reconcile/runtime_watch.py`), and closed here.
    """

    name = "runtime"
    by_id: Mapping[RuntimeId, Runtime] = {}
    collector: RuntimeCollector

    def __init__(self, context: Context) -> None:
        self._context = context
        self.kept = KeptReader(context.state_dir)
        self.host_known: Signal[()] = Signal()

    def make(self) -> Mapping[RuntimeId, Runtime]:
        """Return the runtimes that the settings allow, not opened."""
        context = self._context
        reported = self.collector.runtime_event
        return make_runtimes(context.settings, context.state_dir, reported, self.host_known.emit)

    async def open(self) -> None:
        self.collector = RuntimeCollector(self._context.metrics)
        self.by_id = self.make()

    @property
    def host_seen(self) -> HostSeen:
        """See `ports.Runtimes`."""
        docker = self.by_id.get(RuntimeId(RunnerKind.CONTAINER))
        if docker is not None:
            return docker.host_seen
        return HostSeen() if self._context.settings.docker.enabled else HostSeen("127.0.0.1")

    async def gpus(self) -> Sequence[HostGpu]:
        if not self._context.settings.docker.enabled:
            return ()
        from orchd.runtime.docker.gpus import host_gpus  # Costs nothing while no container asks for a GPU.

        return await host_gpus(GPUS_TIMEOUT_S)

    async def elsewhere(self) -> list[str]:
        """Return what processes of our instance another state directory has, in words."""
        marks = Marks(self._context.settings.instance, self._context.state_dir)
        try:
            return [*map(str, await DaemonThreads("down").run(marks.elsewhere, MARKS_TIMEOUT_S))]
        except TimeoutError:
            return ["processes under another state directory: /proc does not answer"]

    async def close(self) -> None:
        for runtime in reversed([*self.by_id.values()]):
            await runtime.close()
        self.kept.close()
