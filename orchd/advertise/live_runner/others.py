"""Other orchd at the same node, seen by the runners that it lists under the names of our models. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from orchd.advertise.live_runner.wire import DiscoveredRunner
from orchd.advertise.registry import runner_id
from orchd.domain.ids import ModelKey
from orchd.domain.offer import Offers

_ORCHD = "orchd-"
"""How each route of ours begins; see `orchd.advertise.registry.runner_id`."""


def others(listed: Mapping[str, DiscoveredRunner], offers: Offers, instance: str, tag: str) -> dict[ModelKey, str]:
    """Return the route of another orchd's runner for each model whose name that bears, too.

    go-livepeer forgets the label of a static runner only when it ends. So what we have registered before counts as
    ours, whichever way it was, also for a model that is not offered any more.

    Args:
        listed: by route; a trial's has a name that no model has.
        instance, tag: of this orchd; see `orchd.node.route_secrets.RouteSecrets.tag`.
    """
    mine = {runner_id(instance, key) for key in offers.now.keys() | offers.why_not.keys()}
    theirs = {
        runner.app: route
        for route, runner in listed.items()
        if route.startswith(_ORCHD) and route not in mine and not route.endswith(f"-{tag}")
    }
    return {key: theirs[offer.capability] for key, offer in offers.now.items() if offer.capability in theirs}
