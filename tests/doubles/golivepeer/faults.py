"""What can be made to go wrong with go-livepeer alone, beside what `shared.faults` has for every node.

Actions: lose (name), leak (name, n), certificate.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from aiohttp import web

from tests.doubles.shared import faults

if TYPE_CHECKING:
    from tests.doubles.golivepeer.node import Node


def control_routes(node: Node) -> list[web.RouteDef]:
    def leak(given: Mapping[str, str]) -> None:
        node.byoc.capabilities[given["name"]].load += int(given["n"])

    more: dict[str, faults.Act] = {
        "lose": lambda given: node.byoc.remove(given["name"]),
        "leak": leak,
        "certificate": lambda _given: node.change_certificate(),
    }
    return faults.control_routes(node, lambda: _state(node), more)


def _state(node: Node) -> dict[str, Any]:
    byoc = node.byoc
    return {
        "starts": node.starts,
        "capabilities": json.loads(json.dumps({name: vars(c) for name, c in byoc.capabilities.items()}, default=str)),
        "registrations": dict(byoc.registrations),
        "unregistrations": dict(byoc.unregistrations),
        "streams": {name: stream.job.capability for name, stream in byoc.streams.items()},
        "live_runners": node.live_runners.offered(),
        "base_prices": node.base_prices.shown(),
    }
