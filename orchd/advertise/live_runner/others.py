"""Other orchd at the same node, seen by the runners that it lists under the names of our models. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from orchd.advertise.live_runner.wire import DiscoveredRunner
from orchd.domain.ids import ModelKey
from orchd.domain.offer import Offer

_ORCHD = "orchd-"
"""How each route of ours begins; see `orchd.advertise.registry.runner_id`."""


def others(
    listed: Mapping[str, DiscoveredRunner], offers: Mapping[ModelKey, Offer], ours: Callable[[ModelKey], str]
) -> dict[ModelKey, str]:
    """Return the route of another orchd's runner for each model whose name that bears, too.

    Args:
        listed: by route; a trial's has a name that no model has.
        ours: returns the route of our own runner.
    """
    mine = {ours(key) for key in offers}
    theirs = {runner.app: route for route, runner in listed.items() if route.startswith(_ORCHD) and route not in mine}
    return {key: theirs[offer.capability] for key, offer in offers.items() if offer.capability in theirs}
