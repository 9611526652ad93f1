"""A price that no registry of the node takes is an error, with the cure, said once."""

from __future__ import annotations

from dataclasses import replace

from structlog.testing import capture_logs

from orchd.domain.offer import NodeStatus, Published
from orchd.errors import Code
from tests.advertise.rig import Jobs, key, offer, offers

WANTED = Published(wanted=True, published=False, confirmed=None, since=0.0)
REFUSED = replace(WANTED, code=Code.PRICE_UNPUBLISHABLE, error="cannot publish the price: set orchestrator.eth_usd")
BOTH, LIVE = ("byoc", "live-runner"), ("live-runner",)


def test_a_model_whose_price_the_upgraded_node_does_not_take_is_an_error_once() -> None:
    listings = Jobs().listings()
    listings.set_node(NodeStatus(True, 1, registries=BOTH))
    listings.set_offers(offers(offer("a")))
    with capture_logs() as said:
        listings.published["live-runner"][key("a")] = REFUSED
        listings.published["byoc"][key("a")] = WANTED
        listings.published["byoc"][key("a")] = replace(WANTED, published=True)
        assert said == [], "the other registry takes it"
        listings.set_node(NodeStatus(True, 2, registries=LIVE))
        del listings.published["byoc"][key("a")]
        listings.published["live-runner"][key("a")] = replace(REFUSED, since=1.0)
        [error] = said
    assert (error["event"], error["log_level"]) == ("model_off_the_market", "error")
    assert error["reason"].endswith("set orchestrator.eth_usd")


def test_it_is_said_again_when_it_has_been_on_the_market_meanwhile() -> None:
    listings = Jobs().listings()
    listings.set_node(NodeStatus(True, 1, registries=LIVE))
    with capture_logs() as said:
        for standing in (REFUSED, replace(WANTED, published=True), REFUSED):
            listings.published["live-runner"][key("a")] = standing
    assert len(said) == 2


def test_other_troubles_and_models_that_are_not_wanted_are_no_such_error() -> None:
    listings = Jobs().listings()
    listings.set_node(NodeStatus(True, 1, registries=LIVE))
    with capture_logs() as said:
        listings.published["live-runner"][key("a")] = replace(REFUSED, code=Code.NODE_REFUSED)
        listings.published["live-runner"][key("b")] = replace(REFUSED, wanted=False)
    assert said == []
