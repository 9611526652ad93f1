"""The part: bounds as set, what time brings, and what is told of the channels."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from orchd import tasks
from orchd.channels.channels import TooManyChannels
from orchd.channels.part import ChannelsPart
from orchd.channels.settings import ChannelsSettings
from orchd.channels.status import FACE
from orchd.channels.upload import Took, Upload
from orchd.domain.state import Snapshot
from orchd.exposition import MetricsRegistry
from orchd.status_face import Position
from orchd.text import TextStyle
from tests.channels.rig import Woken
from tests.virtual_time import virtual_time

MIB = 1 << 20


class Stand:
    """A part that is open."""

    def __init__(self, **settings: int) -> None:
        self.metrics = MetricsRegistry()
        rules = SimpleNamespace(channels=ChannelsSettings.model_validate(settings))
        context: Any = SimpleNamespace(settings=rules, metrics=self.metrics)
        self.part = ChannelsPart(context, self)  # type: ignore[arg-type]

    @property
    def snapshots(self) -> Stand:
        return self

    def contribute(self, contributor: None, whole: Any) -> None:
        self._whole = whole

    async def open(self) -> Stand:
        await self.part.open()
        return self

    def page(self) -> list[str]:
        """Return the lines of `orchd status`."""
        return FACE.overview[Position.CHANNELS](FACE.whole(self._whole(Snapshot())), TextStyle())

    def published(self, name: str, size: int) -> object:
        """Return what becomes of an upload of so many bytes."""
        channels = self.part.keeper.channels
        channel = channels.get(name)
        assert channel is not None
        upload = channels.publish(channel, -1, Woken().wake)
        assert isinstance(upload, Upload)
        return upload.take(bytes(size), self.part.keeper.now())


@virtual_time
async def test_the_bounds_are_those_of_the_settings() -> None:
    stand = await Stand(max_channels=1, segment_mb=1, channel_mb=2, memory_mb=3).open()
    keeper = stand.part.keeper
    keeper.create("a", "text/plain", "s")
    with pytest.raises(TooManyChannels):
        keeper.create("b", "text/plain", "s")
    assert stand.published("a", MIB) is Took.TAKEN
    assert getattr(stand.published("a", MIB + 1), "status", None) == 413


@virtual_time
async def test_time_passes_for_the_channels_while_the_part_runs() -> None:
    stand = await Stand(segment_mb=1, channel_mb=1, memory_mb=1).open()
    keeper = stand.part.keeper
    keeper.create("a", "text/plain", "s")
    assert stand.published("a", MIB) is Took.TAKEN
    woken = asyncio.Event()
    channel = keeper.channels.get("a")
    assert channel is not None
    waiting = keeper.channels.publish(channel, -1, woken.set)
    assert isinstance(waiting, Upload)
    [(name, root)] = stand.part.roots().items()
    running = tasks.spawn(root, name=name)
    try:
        while (took := waiting.take(b"x", keeper.now())) is Took.WAIT:
            woken.clear()
            await woken.wait()
    finally:
        await tasks.cancel(running)
    assert getattr(took, "status", None) == 503
    assert keeper.now() >= 5
    assert "1 refused for want of room" in " ".join(stand.page())


@virtual_time
async def test_what_is_told_of_them_is_numbers() -> None:
    stand = await Stand().open()
    assert stand.page() == []
    keeper = stand.part.keeper
    keeper.create("secret-name", "text/plain", "secret-session")
    stand.published("secret-name", 2_500_000)
    assert stand.page() == ["Channels of sessions: 1 with 2.5 MB, 1 reads and writes under way"]
    page = stand.metrics.render().decode()
    shown = dict(line.split() for line in page.splitlines() if line.startswith("orchd_"))
    assert {name: float(value) for name, value in shown.items()} == {
        "orchd_channels": 1,
        "orchd_channels_bytes": 2_500_000,
        "orchd_channels_requests": 1,
        "orchd_channels_refused_total": 0,
    }
    assert "secret" not in page


@virtual_time
async def test_it_is_known_when_a_session_s_channels_moved_last() -> None:
    keeper = (await Stand().open()).part.keeper
    assert keeper.moved_at("s") is None
    keeper.create("a", "text/plain", "s")
    keeper.create("b", "text/plain", "s")
    made = keeper.now()
    await asyncio.sleep(7)
    assert keeper.moved_at("s") == made
    keeper.publish("b", b"x")
    assert keeper.moved_at("s") == made + 7
    keeper.remove("a")
    keeper.remove("b")
    assert keeper.moved_at("s") is None


@virtual_time
async def test_orchd_publishes_whole_segments_and_what_is_gone_is_fine() -> None:
    keeper = (await Stand().open()).part.keeper
    keeper.create("a", "text/plain", "s")
    keeper.publish("a", b"one")
    keeper.publish("nobody", b"two")
    assert (keeper.head("a"), keeper.head("nobody"), keeper.channels.requests) == (1, None, 0)


@pytest.mark.parametrize("wrong", [{"segment_mb": 33}, {"channel_mb": 257}, {"memory_mb": 31}])
def test_a_segment_must_fit_into_a_channel_and_that_into_all(wrong: dict[str, int]) -> None:
    with pytest.raises(ValidationError, match="must fit into a channel"):
        ChannelsSettings.model_validate(wrong)
