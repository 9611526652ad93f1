"""The watch and a registry, beside each node program: what is offered is listed, without a setting that names it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from fractions import Fraction
from functools import partial
from typing import Any

import pytest

from orchd.advertise import registries
from orchd.advertise.byoc import NAME as BYOC
from orchd.advertise.live_runner import NAME
from orchd.advertise.registry import RegistryContext
from orchd.domain.money import Currency, Price
from orchd.errors import Code
from orchd.node.ports import NodeAccess
from orchd.node.route_secrets import RouteSecrets, new_key
from orchd.node.watch import NodeWatch
from orchd.tasks import cancel, spawn
from tests.advertise.rig import (
    CountingListings,
    Jobs,
    NodeSessionsSeen,
    client_of,
    key,
    livepeer_node,
    node,
    offer,
    offers,
    settings_for,
    until,
)
from tests.doubles.golivepeer.node import Node
from tests.doubles.livepeer_node.node import Node as LivepeerNode
from tests.fakes.stored import FakeSecretStore

USD = Price(Fraction(1), 3600, Currency.USD)


@asynccontextmanager
async def orchd(double: Node | LivepeerNode, **changes: Any) -> AsyncIterator[CountingListings]:
    """Run what tells the registries, as the daemon does."""
    settings, store = settings_for(double, **changes), FakeSecretStore()
    listings = Jobs().listings()
    async with client_of(settings) as client:
        watch = NodeWatch(client, store, settings)
        access = NodeAccess(client, RouteSecrets(new_key(), 3600.0), store, watch)
        context = RegistryContext(access, listings, settings, lambda: None, NodeSessionsSeen(), "test")
        tasks = [spawn(watch.run(), name="watch")]
        for name in registries.names():
            module = registries.module(name, "registry")
            watch.ask(name, partial(module.spoken, client, settings))
            tasks.append(spawn(module.make(context).run(), name=name))
        watch.polled.connect(listings.set_node)
        try:
            yield listings
            assert not any(task.done() for task in tasks)
        finally:
            await cancel(*tasks)


@pytest.mark.parametrize("program", ["go-livepeer", "livepeer-node"])
async def test_what_is_offered_is_listed(program: str) -> None:
    async with (
        livepeer_node() if program == "livepeer-node" else node(use_live_runners=True) as double,
        orchd(double) as listings,
    ):
        listings.set_offers(offers(offer("a", price=USD)))
        await until("it is listed", lambda: double.live_runners.offered())
        await until("orchd knows", lambda: listings.published[NAME][key("a")].published)
        assert listings.node.program == program


@pytest.mark.parametrize("program", ["go-livepeer", "livepeer-node"])
async def test_a_restart_shorter_than_a_look_is_seen_by_what_is_missing(program: str) -> None:
    """Neither CLI port nor certificate: only what the node has forgotten tells."""
    async with (
        livepeer_node() if program == "livepeer-node" else node(use_live_runners=True, plain_http=True) as double,
        orchd(double, cli=False, poll_s=0.5, check_s=3600.0) as listings,
    ):
        listings.set_offers(offers(*(offer(name, price=USD) for name in "abc")))
        await until("all are listed", lambda: len(double.live_runners.offered()) == 3)
        for epoch in (2, 3):
            await double.kill()
            await double.start()
            await until("all are listed again", lambda: len(double.live_runners.offered()) == 3)
            await until("the restart is known", lambda epoch=epoch: listings.node.epoch == epoch)  # type: ignore[misc]
        looked = listings.looks
        await until("it has looked", lambda: listings.looks > looked + 2)
        assert listings.node.epoch == 3


@pytest.mark.parametrize("way", ["dynamic", "static"])
async def test_a_registry_that_the_node_has_no_more_is_forgotten(way: str) -> None:
    """A go-livepeer that was restarted without Live Runner: nothing of it may be shown, or be believed later."""
    async with (
        node(use_live_runners=True, plain_http=True) as double,
        orchd(double, live_runner=way, poll_s=0.1) as listings,
    ):
        listings.set_offers(offers(offer("a", price=USD)))
        await until("orchd knows", lambda: key("a") in listings.published[NAME])
        # Nobody answers for the health of static ones here: the node has taken them, and does not list them.
        listed = way == "dynamic"
        await until("the node has it", lambda: (one := listings.published[NAME][key("a")]).confirmed or one.error)
        assert bool(listings.published[NAME][key("a")].confirmed) is listed
        await double.stop()
        with_it, double.settings = double.settings, replace(double.settings, use_live_runners=False)
        await double.start()
        await until("the start is seen", lambda: listings.node.up and NAME not in listings.node.registries)
        await until("it is forgotten", lambda: not listings.published[NAME])
        listings.set_offers(offers(offer("a", price=USD), offer("b", price=USD)))
        looked = listings.looks
        await until("it has looked", lambda: listings.looks > looked + 2)
        assert not listings.published[NAME]
        await double.stop()
        double.settings = with_it
        await double.start()
        await until("orchd tells it again", lambda: len(listings.published[NAME]) == 2)
        if listed:
            await until("both are confirmed", lambda: all(one.confirmed for one in listings.published[NAME].values()))


async def test_static_registration_beside_livepeer_node_is_an_error_by_name() -> None:
    async with livepeer_node() as double, orchd(double, live_runner="static") as listings:
        listings.set_offers(offers(offer("a", price=USD)))
        await until("it is up", lambda: listings.node.up)
        looked = listings.looks
        await until("it has looked", lambda: listings.looks > looked + 2)
        assert listings.node.code is Code.NOT_SPOKEN
        assert "orchestrator.live_runner = static): Livepeer Node has no CLI port" in listings.node.error
        assert (listings.node.up, listings.node.registries, listings.published[NAME]) == (True, (), {})


async def test_byoc_is_forgotten_where_livepeer_node_has_taken_the_place_of_go_livepeer() -> None:
    async with (
        node(plain_http=True, use_live_runners=True) as first,
        orchd(first, cli=False, eth_usd="3000") as listings,
    ):
        listings.set_offers(offers(offer("a", price=5)))
        await until("BYOC has it", lambda: (one := listings.published[BYOC].get(key("a"))) and one.confirmed)
        await first.stop()
        async with livepeer_node(listen=first.service_url.removeprefix("http://")) as second:
            await until("the other program is seen", lambda: listings.node.program == "livepeer-node")
            await until("BYOC is forgotten", lambda: not listings.published[BYOC])
            assert listings.node.registries == (NAME,)
            looked = listings.looks
            await until("it has looked", lambda: listings.looks > looked + 2)
            assert not listings.published[BYOC]
            assert second.starts == 1
        await first.start()
        await until("BYOC has it again", lambda: (one := listings.published[BYOC].get(key("a"))) and one.confirmed)
