"""Channels of a session at both node programs: made by the session's token alone, and removed to the last one."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest

from orchd.domain.model import Secret
from orchd.node.client import NodeClient
from orchd.realtime.channels import IN, MIME_TYPES, ChannelSet
from orchd.realtime.node_channels import NodeChannels
from orchd.realtime.session_channels import NoChannels
from tests.doubles.golivepeer.live_kit import live_kit
from tests.doubles.livepeer_node.kit import RUNNER, kit
from tests.node.test_client import settings_of

KITS: dict[str, Callable[..., AbstractAsyncContextManager[Any]]] = {"livepeer-node": kit, "go-livepeer": live_kit}


class Place:
    """A session at a node, and its channels as orchd has them."""

    def __init__(self, client: NodeClient, session: str, token: str) -> None:
        self.client, self.session, self.token = client, session, token

    def channels(self, token: str = "", session: str = "") -> NodeChannels:
        return NodeChannels(self.client, RUNNER, session or self.session, Secret(token or self.token))

    async def statuses(self, made: ChannelSet) -> set[int]:
        """Return what the node says of each channel."""
        paths = [urlsplit(channel.url).path for channel in made.channels.values()]
        return {(await self.client.service("GET", f"{path}/next")).status for path in paths}


@asynccontextmanager
async def placed(program: str) -> AsyncIterator[Place]:
    plain = {"plain_http": True} if program == "go-livepeer" else {}
    async with KITS[program](**plain) as running:
        await running.heartbeat(mode="persistent")
        session = await running.reserve()
        running.worker.take()
        await running.post(f"/apps/{RUNNER}/session/{session}/app/x", {})
        token = dict(running.worker.take()[0][-1].headers)["Livepeer-Session-Token"]
        client = NodeClient(settings_of(running.node.service_url), None)
        try:
            yield Place(client, session, token)
        finally:
            await client.close()


@pytest.mark.parametrize("program", KITS)
async def test_all_channels_are_made_with_their_types_and_all_are_removed(program: str) -> None:
    async with placed(program) as place:
        channels = place.channels()
        made = await channels.make()
        assert made.channels.keys() == MIME_TYPES.keys()
        assert await place.statuses(made) == {200}
        path = urlsplit(made.channels[IN].url).path
        await place.client.service("POST", f"{path}/0", body=b"segment")
        assert (await place.client.service("GET", f"{path}/0")).content_type == MIME_TYPES[IN].lower()
        assert (await channels.make()).channels == made.channels, "those that are there stay"
        await channels.remove()
        assert await place.statuses(made) == {404}


@pytest.mark.parametrize("program", KITS)
async def test_removing_goes_on_where_the_client_has_removed_one_itself(program: str) -> None:
    """The SDK deletes those that it has written to."""
    async with placed(program) as place:
        channels = place.channels()
        made = await channels.make()
        path = urlsplit(made.channels[IN].url).path
        assert (await place.client.service("DELETE", path)).status == 200
        body = json.dumps({"channels": ["control"]}).encode()
        headers = {"Livepeer-Session-Token": place.token}
        gone = await place.client.service(
            "DELETE", f"/runner/{RUNNER}/session/{place.session}/channels", headers=headers, body=body
        )
        assert gone.status == 200
        await channels.remove()
        assert await place.statuses(made) == {404}


@pytest.mark.parametrize("program", KITS)
@pytest.mark.parametrize("wrong", [{"token": "another"}, {"session": "another"}])
async def test_no_other_token_and_no_other_session_gets_channels(program: str, wrong: dict[str, str]) -> None:
    async with placed(program) as place:
        with pytest.raises(NoChannels, match=r"^the node makes no channels for it: it answered 40[134]$"):
            await place.channels(**wrong).make()
