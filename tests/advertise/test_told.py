"""What the history is told of the node and its registries."""

from __future__ import annotations

from dataclasses import replace

from orchd.advertise import registries
from orchd.advertise.listings import Listings
from orchd.advertise.told import OffersTold
from orchd.domain.ids import ModelKey
from orchd.domain.offer import NodeProgram, NodeStatus, Offers, Published
from orchd.errors import Code
from orchd.history.ports import Kind
from tests.fakes.history import FakeHistory, Noted

KEY = ModelKey("llm", "a")
REGISTRY = registries.names()[0]
WANTED = Published(wanted=True, published=False, confirmed=None, since=0.0)
FULL = replace(WANTED, wanted=False, full=True)
THERE = replace(WANTED, published=True, price="100 wei per pixel")


def told(node: NodeStatus | None = None) -> tuple[FakeHistory, dict[ModelKey, Published], Listings]:
    history = FakeHistory()
    offers = OffersTold(history)
    listings = Listings(active=lambda key: 0, begun=lambda key: 0, streams=lambda key, door: 0, told=offers.published)
    if node is not None:
        offers.node(node)
        history.noted.clear()
    return history, listings.published[REGISTRY], listings


def test_a_model_that_comes_and_goes_is_told_once_with_the_reason() -> None:
    history, byoc, listings = told()
    byoc[KEY] = WANTED
    byoc[KEY] = THERE
    byoc[KEY] = replace(THERE, confirmed=True)
    listings.set_offers(Offers({}, {KEY: "it fails its health probes"}))
    byoc[KEY] = replace(WANTED, wanted=False)
    byoc.pop(KEY)
    assert history.noted == [
        Noted(Kind.REGISTERED, f"{REGISTRY}: 100 wei per pixel", KEY),
        Noted(Kind.WITHDRAWN, f"{REGISTRY}: it fails its health probes", KEY),
    ]


def test_one_that_is_full_now_and_then_is_told_once_and_its_end_is_told() -> None:
    history, live, listings = told()
    live[KEY] = THERE
    for _ in range(3):
        live[KEY] = FULL
        live[KEY] = THERE
    live[KEY] = FULL
    listings.set_offers(Offers({}, {KEY: "it fails its health probes"}))
    live[KEY] = replace(WANTED, wanted=False)
    assert [(each.kind, each.why) for each in history.noted] == [
        (Kind.REGISTERED, f"{REGISTRY}: 100 wei per pixel"),
        (Kind.WITHDRAWN, f"{REGISTRY}: it fails its health probes"),
    ]


def test_one_that_the_node_has_lost_and_one_that_is_gone_are_told_apart() -> None:
    history, byoc, _ = told()
    byoc[KEY] = THERE
    byoc[KEY] = WANTED
    byoc[KEY] = THERE
    del byoc[KEY]
    assert [each.why for each in history.noted if each.kind is Kind.WITHDRAWN] == [
        f"{REGISTRY}: the node has lost it",
        f"{REGISTRY}: it is not offered any more",
    ]


def test_a_registry_that_the_node_has_not_any_more_is_the_reason_for_what_was_in_it() -> None:
    gone = NodeStatus(True, 2, program=NodeProgram.LIVEPEER_NODE)
    refused = replace(gone, error="cannot use it: this Livepeer Node does not have that registry")
    reasons = []
    for node in (gone, refused):
        history, models, _ = told(node)
        models[KEY] = THERE
        del models[KEY]
        reasons += [each.why for each in history.noted if each.kind is Kind.WITHDRAWN]
    assert reasons == [
        f"{REGISTRY}: Livepeer Node has no such registry",
        f"{REGISTRY}: cannot use it: this Livepeer Node does not have that registry",
    ]


def test_a_refusal_is_told_once_and_that_the_node_is_away_not_for_each_model() -> None:
    history, byoc, _ = told()
    byoc[KEY] = replace(WANTED, error="cannot reach it", code=Code.NODE_UNREACHABLE)
    byoc[KEY] = replace(WANTED, error="cannot register it: bad secret", code=Code.NODE_SECRET)
    byoc[KEY] = replace(WANTED, error="cannot register it: bad secret", code=Code.NODE_SECRET, since=1.0)
    assert history.noted == [Noted(Kind.NOT_REGISTERED, f"{REGISTRY}: cannot register it: bad secret", KEY)]


def test_the_node_is_told_when_it_comes_goes_and_was_restarted() -> None:
    history = FakeHistory()
    offers = OffersTold(history)
    up = NodeStatus(True, 1, version="0.9.0", registries=("byoc",), program=NodeProgram.GO_LIVEPEER)
    down = replace(up, up=False, error="cannot reach go-livepeer")
    for status in (NodeStatus(error="cannot reach go-livepeer"), up, up, down, down, up, replace(up, epoch=2)):
        offers.node(status)
    assert history.noted == [
        Noted(Kind.NODE_DOWN, "cannot reach go-livepeer"),
        Noted(Kind.NODE_UP, "go-livepeer has been started, version 0.9.0; registries: byoc"),
        Noted(Kind.NODE_DOWN, "cannot reach go-livepeer"),
        Noted(Kind.NODE_UP, "go-livepeer answers again, version 0.9.0; registries: byoc"),
        Noted(Kind.NODE_UP, "go-livepeer has been started, version 0.9.0; registries: byoc"),
    ]
