"""What can be made to go wrong with Livepeer Node alone, beside what `shared.faults` has for every node.

Actions: lose (id: that runner is forgotten), places (kind=stream|control, n: so many are taken, by nobody).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.doubles.shared import faults

if TYPE_CHECKING:
    from tests.doubles.livepeer_node.node import Node


def control_routes(node: Node) -> list[web.RouteDef]:
    def lose(given: Mapping[str, str]) -> None:
        node.live_runners.forget(given["id"])

    def places(given: Mapping[str, str]) -> None:
        node.places.occupied[given["kind"]] = int(given["n"])

    return faults.control_routes(node, lambda: _state(node), {"lose": lose, "places": places})


def _state(node: Node) -> dict[str, Any]:
    registry = node.live_runners.registry
    return {
        "starts": node.starts,
        "live_runners": node.live_runners.offered(),
        "runners": {
            runner.runner_id: {
                "app": runner.entry.app,
                "status": runner.entry.status,
                "capacity": runner.entry.capacity,
                "sessions": list(runner.sessions),
            }
            for runner in registry.runners()
        },
        "places": dict(node.places.taken),
        "channels": list(node.trickle.channels.names()),
    }
