"""How a connection is set up, on sockets of all kinds."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from pathlib import Path

import pytest
import uvloop

from orchd.relay.congestion import NEAR_US
from orchd.relay.wire import Batch, Wire

LOOPS = [asyncio.SelectorEventLoop, uvloop.Loop]


class OneSided(Wire):
    def __init__(self, batch: Batch) -> None:
        super().__init__(batch)
        self.begun, self.ended = asyncio.Event(), asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.begun.set()

    def buffer_updated(self, nbytes: int) -> None:
        pass

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended.set()


class FakeSocket:
    """Attributes: control: the congestion control; rtt_us: of the opening of the connection."""

    def __init__(self, control: bytes, rtt_us: int) -> None:
        self.control = control
        self.rtt_us = rtt_us

    def getsockopt(self, level: int, option: int, size: int) -> bytes:
        assert level == socket.IPPROTO_TCP
        if option == socket.TCP_INFO:
            return (bytes(68) + struct.pack("=I", self.rtt_us) + bytes(200))[:size]
        assert option == socket.TCP_CONGESTION
        return self.control.ljust(16, b"\0")[:size]

    def setsockopt(self, level: int, option: int, value: bytes) -> None:
        assert (level, option) == (socket.IPPROTO_TCP, socket.TCP_CONGESTION)
        self.control = value


class Transport(asyncio.Transport):
    def __init__(self, sock: object) -> None:
        super().__init__({"socket": sock})

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass


@pytest.mark.parametrize(
    ("control", "rtt_us", "then"),
    [
        (b"bbr", 40, b"reno"),
        (b"bbr", NEAR_US, b"bbr"),
        (b"bbr", 80_000, b"bbr"),
        (b"cubic", 40, b"cubic"),
        (b"reno", 40, b"reno"),
    ],
)
async def test_only_where_the_system_would_pace_a_neighbour_its_choice_is_changed(
    control: bytes, rtt_us: int, then: bytes
) -> None:
    sock = FakeSocket(control, rtt_us)
    OneSided(Batch(0)).connection_made(Transport(sock))
    assert sock.control == then


async def controls(path: Path | None) -> list[bytes]:
    """Connect two, over TCP or a unix socket; return the congestion control of each, where it has one."""
    loop = asyncio.get_running_loop()
    wires = [OneSided(Batch(0)) for _ in range(2)]
    free = iter(wires)
    if path is not None:
        server = await loop.create_unix_server(lambda: next(free), str(path))
        await loop.create_unix_connection(lambda: next(free), str(path))
    else:
        server = await loop.create_server(lambda: next(free), "127.0.0.1", 0)
        await loop.create_connection(lambda: next(free), *server.sockets[0].getsockname())
    found = []
    for wire in wires:
        await wire.begun.wait()
        with contextlib.suppress(OSError):
            found.append(wire.socket().getsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, 16))
        wire.abort()
        await wire.ended.wait()
    server.close()
    await server.wait_closed()
    return found


@pytest.mark.parametrize("loop_class", LOOPS)
def test_nothing_on_this_host_is_paced(loop_class: type[asyncio.AbstractEventLoop]) -> None:
    with asyncio.Runner(loop_factory=loop_class) as runner:
        found = runner.run(controls(None))
    assert len(found) == 2
    assert not [control for control in found if control.startswith(b"bbr")]


@pytest.mark.parametrize("loop_class", LOOPS)
def test_a_unix_socket_is_served_as_it_is(loop_class: type[asyncio.AbstractEventLoop], tmp_path: Path) -> None:
    with asyncio.Runner(loop_factory=loop_class) as runner:
        assert runner.run(controls(tmp_path / "socket")) == []
