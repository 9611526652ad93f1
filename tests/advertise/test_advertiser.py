"""The advertiser: which registries are used, and that it builds what it finds."""

from __future__ import annotations

import pytest

from orchd.advertise import registries
from orchd.advertise.advertiser import Advertiser
from orchd.advertise.gpus import ToldGpus
from orchd.node.ports import NodeAccess
from orchd.node.route_secrets import RouteSecrets, new_key
from orchd.node.watch import NodeWatch
from orchd.tasks import cancel, spawn
from tests.advertise.rig import Jobs, NodeSessionsSeen, client_of, no_gpus, node, settings_for, until
from tests.fakes.stored import FakeSecretStore


@pytest.mark.parametrize("name", registries.names())
async def test_registries_of_the_settings(name: str) -> None:
    """Of those that the node has, only the named ones are used."""
    async with node(use_live_runners=True) as double:
        settings = settings_for(double, register=(name,))
        async with client_of(settings) as client:
            listings, store = Jobs().listings(), FakeSecretStore()
            watch = NodeWatch(client, store, settings)
            watch.polled.connect(listings.set_node)
            access = NodeAccess(client, RouteSecrets(new_key(), 3600.0), store, watch)
            advertiser = Advertiser(settings, listings, access, None, NodeSessionsSeen(), "test", ToldGpus(no_gpus, ()))
            roots = [spawn(watch.run(), name="node")]
            roots += [spawn(root, name=name) for name, root in advertiser.roots().items()]
            try:
                await until("it is up", lambda: listings.node.up)
                assert listings.node.registries == (name,)
            finally:
                await cancel(*roots)


def test_every_registry_says_what_it_is() -> None:
    assert registries.names()
    for name in registries.names():
        assert registries.about(name).title
        assert callable(registries.module(name, "registry").make)
