"""The section `[streams]`."""

from __future__ import annotations

from pydantic import Field

from orchd.settings.section import Positive, Section


class StreamsSettings(Section):
    """Realtime sessions."""

    idle_s: Positive = Field(
        15.0,
        description="How many seconds a container may report that it is free while orchd counts a session on it; then "
        "the session is taken for lost and its slot is freed. The default is three probes.",
    )
    silence_s: Positive = Field(
        3600.0,
        description="Idle timeout in seconds of a realtime session without any request, byte or report of its "
        "container; it is ended then. An hour, since some containers report nothing.",
    )
    unused_s: Positive = Field(
        60.0,
        description="How many seconds a session that a client has reserved at the node may go without any request; "
        "then orchd ends it there. Anybody can reserve one, and it takes a slot.",
    )
    client_silence_s: Positive = Field(
        120.0,
        description="How many seconds a client of Live Runner's, whose channels orchd has had made, may send neither "
        "video nor a keep-alive nor a request; then it is taken for gone, and its session is ended. Off chain the node "
        "sets a session no limit.",
    )
    call_timeout_s: Positive = Field(
        30.0,
        description="Timeout in seconds of one call to a container's start, stop, update or status route; starting a "
        "stream may load a model into GPU memory.",
    )
