"""Which GPU clients are told that a model has: the entry's word, else what the driver says of its containers' GPUs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Protocol

import structlog

from orchd.domain.details import Gpu, HostGpu
from orchd.domain.ids import ModelKey
from orchd.domain.model import ContainerLaunch, GpuRequest, Model
from orchd.errors import LaunchError

log = structlog.get_logger("orchd.gpus")


class FollowedLoop(Protocol):
    """See `domain.snapshots.SnapshotSource`."""

    @property
    def turn(self) -> int: ...
    async def turned(self, after: int) -> None: ...


class ToldGpus:
    """Asks the driver at most once, and only if a model needs it.

    Args:
        ask: returns the GPUs of this machine; raises LaunchError.
        named: the GPUs that a count is filled from, by a name of theirs; empty = all.
    """

    def __init__(self, ask: Callable[[], Awaitable[Sequence[HostGpu]]], named: Sequence[str]) -> None:
        self._ask = ask
        self._named = named
        self._host: Sequence[HostGpu] | None = None

    async def learn(self, models: Iterable[Model]) -> None:
        """Have what `of` needs for these models."""
        if self._host is not None or not any(map(_request, models)):
            return
        try:
            self._host = await self._ask()
        except LaunchError as exc:
            self._host = ()
            told = "clients are told of no GPU but where an entry has `gpu`, until orchd is started again"
            log.warning("gpus_unknown", code=exc.code, reason=exc.message, next=told)

    async def follow(self, models: Callable[[], Mapping[ModelKey, Model]], loop: FollowedLoop) -> None:
        """Have what `of` needs for the models that there are, whichever come, until cancelled."""
        while True:
            turn = loop.turn
            await self.learn(models().values())
            await loop.turned(turn)

    def of(self, model: Model) -> Gpu | None:
        """Return the GPU that clients are told of; None = none is.

        Of several GPUs that a session may get to run on, it is the one with the least memory, and without an id: what
        clients are promised holds wherever that is, and does not change as runners come and go.
        """
        request = _request(model)
        if request is None or not self._host:
            return model.details.gpu
        wanted = request.ids if request.mode == "ids" else self._named if request.mode == "count" else ()
        found = [gpu for gpu in self._host if not wanted or {gpu.uuid, gpu.index} & {*wanted}]
        if not found:
            return None
        least = min(found, key=lambda gpu: gpu.vram_mb)
        return Gpu(least.index if len(found) == 1 else "", least.name, least.vram_mb)


def _request(model: Model) -> GpuRequest | None:
    """Return what must be known of the driver's GPUs; None = nothing."""
    return model.launch.gpus if isinstance(model.launch, ContainerLaunch) and model.details.gpu is None else None
