"""The door to the channels of sessions that orchd sells itself: `/ai/trickle/CHANNEL[/NUMBER]`. Pure.

A channel is made by orchd alone, and its name is the credential: who knows it may read, write and end it, on each
listener that carries this door, as at a node (docs/protocol/livepeer-node.md, 8.3). Ending a whole channel is how the
clients' publishers say that nothing more comes, and how a container learns that its input has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from orchd.channels.channels import Channels
from orchd.channels.requests import ask
from orchd.domain.live_runner import TRICKLE
from orchd.domain.origins import Origin
from orchd.doors.base import Door
from orchd.doors.channels.holds import begun
from orchd.doors.own import OwnStream
from orchd.doors.routes import Route, Served, origin_form
from orchd.http1.rules import RequestHead
from orchd.relay.ports import OwnHead, OwnSink, OwnSource

_RESET = b"lp-trickle-reset"


class ChannelServer(Protocol):
    """See `channels.ports.ChannelKeeper`."""

    @property
    def channels(self) -> Channels: ...

    def now(self) -> float:
        """Return seconds of the channels' clock."""
        ...


class ChannelsDoor(Door):
    """Answers itself, from the channels."""

    name = "channels"
    origin = Origin.SOLD
    public = True
    silent_s = 35.0  # PyTrickle connects up to 30 s before it has something to write (docs/protocol/trickle.md 9, Q1).

    def __init__(self, server: ChannelServer) -> None:
        self._server = server

    def takes(self, path: str) -> bool:
        return path.startswith(TRICKLE)

    def route(self, head: RequestHead, target: str, served: Served) -> Route:
        server = self._server
        method = head.method.decode("latin-1")
        path = origin_form(target).partition("?")[0].removeprefix(TRICKLE)
        reset = head.value(_RESET) is not None

        def begin(wake: Callable[[], None]) -> OwnHead | OwnSource | OwnSink:
            return begun(ask(server.channels, method, path, wake, reset=reset), server.now)

        return OwnStream("channel", begin)
