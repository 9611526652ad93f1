"""What can be made to go wrong with Livepeer Node alone, beside what `shared.faults` has for every node.

Actions: lose (id: that runner is forgotten), places (kind=stream|control, n: so many are taken, by nobody), pend (id: a
session of that runner is reserved and not paid, as in paid mode), pay (id, session: it is).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.doubles.shared import faults

if TYPE_CHECKING:
    from tests.doubles.livepeer_node.node import Node


def control_routes(node: Node) -> list[web.RouteDef]:
    def pend(given: Mapping[str, str]) -> None:
        node.live_runners.registry.reserve(given["id"], persistent=True, pending=True)

    def pay(given: Mapping[str, str]) -> None:
        registry = node.live_runners.registry
        registry.paid(registry.session(given["id"], given["session"]))

    def lose(given: Mapping[str, str]) -> None:
        node.live_runners.forget(given["id"])

    def places(given: Mapping[str, str]) -> None:
        node.places.occupied[given["kind"]] = int(given["n"])

    return faults.control_routes(node, lambda: _state(node), {"lose": lose, "places": places, "pend": pend, "pay": pay})


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
