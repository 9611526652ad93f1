"""What the engine's list says of our containers, one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import structlog

from orchd.domain.ids import Address
from orchd.domain.ports import SightedAs, Sighting
from orchd.runtime.docker import spec
from orchd.runtime.docker.engine import Engine
from orchd.runtime.docker.whereabouts import ContainerWhereabouts
from orchd.runtime.out_of_memory import OutOfMemory

log = structlog.get_logger("orchd.runtime")

STATUS: Mapping[str, SightedAs] = {
    "created": SightedAs.CREATED,
    "running": SightedAs.RUNNING,
    "restarting": SightedAs.RUNNING,
    "paused": SightedAs.PAUSED,
}
"""Of a container that is of use, by the engine's word for its state."""
_KILLED = 137
"""Exit code after SIGKILL."""


class ContainerSightings:
    """Made of the engine's list, and of a closer look at those that have ended.

    Args:
        address: returns where a container of these labels is reached; None = nowhere.
        out_of_memory: what the kernel says; None = the engine is on another machine.
    """

    def __init__(
        self,
        engine: Engine,
        whereabouts: ContainerWhereabouts,
        address: Callable[[dict[str, Any], dict[str, str]], Address | None],
        out_of_memory: OutOfMemory | None = None,
    ) -> None:
        self._engine = engine
        self._whereabouts = whereabouts
        self._address = address
        self._out_of_memory = out_of_memory
        self._unread: set[str] = set()
        # Not looked at since: the engine's list calls them running until their network is taken down.
        self._died: set[str] = set()

    def heard_to_die(self, handle: str) -> None:
        """Take in an event of the engine's."""
        self._died.add(handle)

    async def of(self, entries: Sequence[dict[str, Any]]) -> tuple[Sighting, ...]:
        """Return what is seen in the engine's list of our containers, and forget those that are not in it."""
        if self._out_of_memory is not None:
            self._out_of_memory.look()
        there = {entry["Id"] for entry in entries}
        self._unread &= there
        self._died &= there
        self._whereabouts.keep_only(there)
        found = [await self._readable(entry) for entry in entries]
        return tuple(sighting for sighting in found if sighting is not None)

    async def _readable(self, entry: dict[str, Any]) -> Sighting | None:
        """One container that can't be read is named, and none of the others is lost for it."""
        try:
            sighting = await self._sighting(entry)
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            self._tell_unread(entry, f"the engine's answer about it can't be read: {error!r}")
            return None
        if sighting is not None:
            self._unread.discard(sighting.handle)
        return sighting

    def _tell_unread(self, entry: dict[str, Any], why: str) -> None:
        if entry["Id"] not in self._unread:
            log.warning("container_not_ours", container=entry.get("Names"), why=why)
        self._unread.add(entry["Id"])

    async def _sighting(self, entry: dict[str, Any]) -> Sighting | None:
        handle, labels = entry["Id"], entry["Labels"] or {}
        runner = spec.runner_of(spec.own_name(entry["Names"] or ()), labels)
        if runner is None:
            self._tell_unread(entry, "its name and our labels do not agree")
            return None
        status = STATUS.get(entry["State"], SightedAs.EXITED)
        gpu_ids = spec.gpu_ids_of(labels)
        if status is SightedAs.EXITED or handle in self._died:
            self._died.discard(handle)
            inspected = await self._engine.inspect(handle)
            if inspected is None:
                return None
            state = inspected["State"]
            if state["Status"] not in STATUS:
                return Sighting(
                    runner,
                    handle,
                    SightedAs.EXITED,
                    exit_code=state["ExitCode"],
                    oom_killed=state["OOMKilled"] or self._killed_by_the_kernel(state["ExitCode"]),
                    gpu_ids=gpu_ids,
                )
            status = STATUS[state["Status"]]  # It runs again.
        address = self._address(entry, labels) if status is not SightedAs.CREATED else None
        if address is not None:
            await self._whereabouts.listed(entry)
        return Sighting(runner, handle, status, address=address, gpu_ids=gpu_ids)

    def _killed_by_the_kernel(self, exit_code: int) -> bool:
        """Whether it seems so. Engines of cgroup v1 on newer kernels don't notice it, and say that it was not."""
        return exit_code == _KILLED and self._out_of_memory is not None and self._out_of_memory.lately()
