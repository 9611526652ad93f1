"""Why nobody answers in a container that runs: its server listens elsewhere."""

from __future__ import annotations

from typing import Any

from orchd.errors import EngineUnavailable
from orchd.runtime import listening
from orchd.runtime.docker.client import Refused
from orchd.runtime.docker.engine import Engine
from orchd.tcp_listeners import Listener


async def why_unreachable(engine: Engine, handle: str, port: int) -> str:
    """Return, in one short line, what may be the reason; empty = nothing known. Never raises.

    Args:
        port: on which it should listen.
    """
    try:
        found = await engine.inspect(handle)
        if found is None or not found["State"]["Running"] or found["State"]["Paused"]:
            return ""
        exposed = await engine.exposed_ports(found["Image"])
        return listening.of_container(port, await _listeners(engine, found), exposed)
    except EngineUnavailable:
        return ""


async def _listeners(engine: Engine, container: dict[str, Any]) -> list[Listener] | None:
    """Return on what is listened in a container; from outside where we see its processes, else by asking inside."""
    pid = int(container["State"]["Pid"])
    visible = engine.local and pid and listening.is_of_container(pid, container["Id"])
    if visible and (seen := listening.read_tables(pid)) is not None:
        return seen
    try:
        tables = await engine.output_of(container["Id"], ("cat", "/proc/net/tcp", "/proc/net/tcp6"))
    except Refused:  # It has no such program.
        return None
    return listening.parse(tables.decode(errors="replace"))
