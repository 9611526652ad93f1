"""The section `[channels]`: how much the channels of sessions may hold that orchd sells itself."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from orchd.settings.section import AtLeastOne, Section


class ChannelsSettings(Section):
    """Channels of media and events, for sessions of the door live-runner; they hold their last segments in memory."""

    memory_mb: AtLeastOne = Field(
        256,
        description="Most MiB that all channels hold together. When it is used up, sessions that hold more than a fair "
        "share (this, divided by the sessions that hold any) give their oldest segments, and at last what is being "
        "written, whose upload gets 503. The default is enough for 50 streams of 8 Mbit/s.",
    )
    channel_mb: AtLeastOne = Field(32, description="Most MiB that one channel holds; its five last segments fit.")
    segment_mb: AtLeastOne = Field(
        10, description="Longest segment in MiB; a longer one gets 413. The default is Livepeer Node's limit."
    )
    max_channels: AtLeastOne = Field(
        768, description="Most channels at one time. The default is Livepeer Node's limit: a live session has five."
    )
    max_requests: AtLeastOne = Field(
        1024,
        description="Most reads and writes of segments at one time, those that wait for a segment included; more get "
        "503. Each has a connection, which public.max_connections counts.",
    )
    max_session_requests: AtLeastOne = Field(
        128, description="The same as channels.max_requests, of the channels of one session."
    )

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if not self.segment_mb <= self.channel_mb <= self.memory_mb:
            raise ValueError(
                f"a segment (segment_mb = {self.segment_mb}) must fit into a channel (channel_mb = {self.channel_mb}), "
                f"and that into all (memory_mb = {self.memory_mb})"
            )
        return self
