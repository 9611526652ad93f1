"""The advertiser: which registries are used, and that it builds what it finds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from orchd.advertise import registries
from orchd.advertise.advertiser import Advertiser
from orchd.errors import Code
from orchd.node.ports import NodeAccess
from orchd.node.route_secrets import RouteSecrets, new_key
from orchd.node.watch import NodeWatch
from orchd.tasks import cancel, spawn
from orchd.told_gpus import ToldGpus
from tests.advertise.rig import (
    CountingListings,
    Jobs,
    NodeSessionsSeen,
    client_of,
    no_gpus,
    node,
    settings_for,
    until,
)
from tests.doubles.golivepeer.node import Node
from tests.fakes.stored import FakeSecretStore


@asynccontextmanager
async def advertiser(double: Node, name: str) -> AsyncIterator[CountingListings]:
    """Run the advertiser and the watch with one registry in the settings, until the node was seen."""
    settings = settings_for(double, register=(name,))
    async with client_of(settings) as client:
        listings, store = Jobs().listings(), FakeSecretStore()
        watch = NodeWatch(client, store, settings)
        watch.polled.connect(listings.set_node)
        access = NodeAccess(client, RouteSecrets(new_key(), 3600.0), store, watch)
        running = Advertiser(settings, listings, access, None, NodeSessionsSeen(), "test", ToldGpus(no_gpus, ()))
        roots = [spawn(watch.run(), name="node")]
        roots += [spawn(root, name=name) for name, root in running.roots().items()]
        try:
            await until("it is up", lambda: listings.node.up)
            yield listings
        finally:
            await cancel(*roots)


@pytest.mark.parametrize("name", registries.names())
async def test_only_the_registries_of_the_settings_are_used(name: str) -> None:
    async with node(use_live_runners=True) as double, advertiser(double, name) as listings:
        assert (listings.node.registries, listings.node.error) == ((name,), "")


@pytest.mark.parametrize("name", registries.names())
async def test_a_registry_of_the_settings_that_the_node_has_not_is_an_error_by_name(name: str) -> None:
    async with node(version="0.10.0") as double, advertiser(double, name) as listings:
        assert (listings.node.registries, listings.node.code) == ((), Code.NOT_SPOKEN)
        assert listings.node.error.startswith(f"cannot use {name} (orchestrator.register): this go-livepeer does not")
        assert listings.node.error.endswith('write ["auto"] there')


def test_every_registry_says_what_it_is() -> None:
    assert registries.names()
    for name in registries.names():
        assert registries.about(name).title
        assert callable(registries.module(name, "registry").make)
