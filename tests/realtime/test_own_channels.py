"""Channels of a session that orchd has sold: made by orchd, under names that stay, and removed to the last one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
import structlog

from orchd.channels.bounds import Bounds
from orchd.channels.channels import TooManyChannels
from orchd.channels.store import ChannelStore
from orchd.domain.sold import SoldSession
from orchd.errors import StoreError
from orchd.realtime.channels import CONTROL, IN, MIME_TYPES
from orchd.realtime.own_channels import OwnChannels
from orchd.realtime.session_channels import NoChannels
from orchd.sold.runner_side.runner_side import SessionOver
from orchd.sold.runner_side.session_channels import SessionChannel, new_channel
from orchd.sold.runner_side.urls import RunnerUrls
from tests.jobs.model import KEY
from tests.virtual_time import virtual_time


class Side:
    """`MakesChannels` without a disk. Attributes:
    fails: raised by each call; None = they succeed.
    """

    def __init__(self) -> None:
        self.store = ChannelStore(Bounds(), asyncio.get_running_loop().time)
        self.made: dict[str, SessionChannel] = {}
        self.fails: Exception | None = None

    async def make_channels(self, session: SoldSession, wanted: Sequence[tuple[str, str]]) -> list[SessionChannel]:
        if self.fails is not None:
            raise self.fails
        for name, mime_type in wanted:
            channel = self.made.setdefault(name, new_channel(name, mime_type))
            self.store.create(channel.channel_name, channel.mime_type, session.id)
        return [self.made[name] for name, _ in wanted]

    async def remove_channels(self, session: SoldSession, names: Sequence[str]) -> list[str]:
        if self.fails is not None:
            raise self.fails
        gone = [name for name in names if name in self.made]
        for name in gone:
            self.store.remove(self.made.pop(name).channel_name)
        return gone

    def channel_head(self, session: str, name: str) -> int | None:
        channel = self.made.get(name)
        return None if channel is None else self.store.head(channel.channel_name)


def a_session() -> SoldSession:
    def end(*how: Any, **word: Any) -> None: ...

    return SoldSession("session_s", KEY, "", True, False, 0.0, end)


def set_up() -> tuple[Side, OwnChannels]:
    side = Side()
    urls = RunnerUrls("https://ai.example.org/base", "http://172.18.0.1:8739", lambda: "", dict)
    return side, OwnChannels(side, urls, a_session())


@virtual_time
async def test_client_and_container_get_their_urls_of_the_same_channels() -> None:
    side, channels = set_up()
    made = (await channels.make()).channels
    assert made.keys() == MIME_TYPES.keys()
    for name, mime_type in MIME_TYPES.items():
        channel = side.made[name].channel_name
        assert made[name].url == f"https://ai.example.org/base/ai/trickle/{channel}"
        assert made[name].internal_url == f"http://172.18.0.1:8739/ai/trickle/{channel}"
        kept = side.store.channels.get(channel)
        assert kept is not None
        assert kept.mime_type == mime_type
    assert (await channels.make()).channels == made, "those that are there stay"


@virtual_time
async def test_how_far_the_client_has_written_is_seen_and_that_it_has_ended_one() -> None:
    side, channels = set_up()
    await channels.make()
    side.store.publish(side.made[IN].channel_name, b"x")
    assert await channels.client_heads() == (1, 0)
    side.store.remove(side.made[CONTROL].channel_name)
    assert await channels.client_heads() == (1, -1)
    await channels.remove()
    assert await channels.client_heads() == (-1, -1)
    assert len(side.store.channels) == 0


@pytest.mark.parametrize(
    ("why", "said"),
    [
        (TooManyChannels("x"), "channels.max_channels"),
        (SessionOver(), "it has ended"),
        (StoreError("cannot write /secret/path"), "can't be kept on the disk"),
    ],
)
def test_why_there_are_none_is_told_without_what_only_the_log_may_know(why: Exception, said: str) -> None:
    @virtual_time
    async def run() -> None:
        side, channels = set_up()
        side.fails = why
        with structlog.testing.capture_logs() as logs, pytest.raises(NoChannels, match=said) as caught:
            await channels.make()
        assert "/secret" not in str(caught.value)
        assert [line["event"] for line in logs] == ([] if isinstance(why, SessionOver) else ["channels_not_made"])

    run()


@pytest.mark.parametrize("why", [SessionOver(), StoreError("cannot write")])
def test_what_can_t_be_removed_goes_with_the_session(why: Exception) -> None:
    @virtual_time
    async def run() -> None:
        side, channels = set_up()
        side.fails = why
        await channels.remove()

    run()
