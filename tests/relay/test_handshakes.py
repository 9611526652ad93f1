"""TLS handshakes: none takes for ever, few are under way at once, and one that is slow makes room for others."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import pytest

from orchd.lag import LoopLag
from orchd.loops import fast_loop
from orchd.public.certificate import make_certificate, read_certificate
from orchd.public.tls import context_of
from orchd.relay.caller_wire import CallerWire
from orchd.relay.handshakes import HandshakeLimits, TlsServer
from orchd.relay.listener import HandshakeFault
from orchd.tasks import spawn
from tests.advertise.rig import until

NEVER_S = 3600.0
CERTIFICATE = read_certificate(*make_certificate("localhost", 1_790_000_000.0))
LOOPS = (asyncio.new_event_loop, fast_loop() or asyncio.new_event_loop)
each_loop = pytest.mark.parametrize("loop", LOOPS, ids=["asyncio", "uvloop"])
Loop = Callable[[], asyncio.AbstractEventLoop]


@pytest.fixture(autouse=True)
def _kernel_of_fakes() -> None:
    """The kernel itself."""


class Greeter(asyncio.Protocol):
    """In place of a caller's connection: greets, and knows whether it was made."""

    made = False

    def __init__(self, of: Front) -> None:
        self._of = of

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.made = True
        self._of.made += 1
        cast(asyncio.Transport, transport).write(b"hello")
        transport.close()

    def give_up_unmade(self) -> None:
        self._of.over += 1


class Front:
    """As `relay.listener.Tls`, and what came of all connections.

    Attributes:
        made: connections of which the handshake is done. over: those that are out of the handshakes.
    """

    def __init__(self) -> None:
        self.context = context_of(CERTIFICATE)
        self.lag = LoopLag()
        self.faults: Counter[HandshakeFault] = Counter()
        self.made = self.over = 0
        self.port = 0

    def failed(self, why: HandshakeFault) -> None:
        self.faults[why] += 1

    async def greeted(self) -> bytes:
        """Return what a client gets that does as it should."""
        trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=trusting)
        said = await reader.read()
        writer.close()
        await writer.wait_closed()
        return said

    async def silent(self) -> asyncio.StreamReader:
        """Return what a client reads that connects and says nothing."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._writers.append(writer)
        return reader

    _writers: list[asyncio.StreamWriter]


@asynccontextmanager
async def front(limits: HandshakeLimits) -> AsyncIterator[Front]:
    """Listen until the end of the block."""
    made = Front()
    made._writers = []
    bound = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0, start_serving=False)
    made.port = bound.sockets[0].getsockname()[1]
    for each in bound.sockets:
        with socket.socket(fileno=socket.dup(each.fileno())) as ours:
            ours.listen(64)
    server = TlsServer(bound, lambda: cast(CallerWire, Greeter(made)), made, limits)
    await server.start_serving()
    try:
        yield made
    finally:
        server.close()
        for writer in made._writers:
            writer.close()
            await writer.wait_closed()


def run_on(loop: Loop, work: Callable[[], object]) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(work())  # type: ignore[arg-type]


@each_loop
def test_a_client_that_says_nothing_is_closed_after_its_time(loop: Loop) -> None:
    async def run() -> None:
        async with front(HandshakeLimits(0.05, 1.0)) as made:
            reader = await made.silent()
            assert await reader.read() == b""
            await until("it is counted", lambda: made.faults == {HandshakeFault.TIMEOUT: 1})
            await until("it is out", lambda: made.over == 1)
            assert made.made == 0

    run_on(loop, run)


@each_loop
def test_when_all_places_are_taken_the_one_that_has_taken_longest_makes_room(loop: Loop) -> None:
    async def run() -> None:
        async with front(HandshakeLimits(NEVER_S, 1.0, places=2, crowded_s=0.05)) as made:
            first = await made.silent()
            await made.silent()
            assert await made.greeted() == b"hello"
            assert await first.read() == b""
            await until("one made room", lambda: made.faults[HandshakeFault.CROWDED] >= 1)
            for _ in range(5):
                await made.silent()
                assert await made.greeted() == b"hello"
            assert set(made.faults) == {HandshakeFault.CROWDED}

    run_on(loop, run)


@each_loop
def test_who_waits_for_a_place_gets_it_when_one_is_free(loop: Loop) -> None:
    async def run() -> None:
        async with front(HandshakeLimits(NEVER_S, 1.0, places=1, crowded_s=NEVER_S)) as made:
            await made.silent()
            waiting = spawn(made.greeted(), name="a client")
            made._writers[0].close()
            assert await waiting == b"hello"
            assert made.faults == {HandshakeFault.LEFT: 1}

    run_on(loop, run)


@each_loop
def test_many_honest_ones_at_once_all_get_in_though_there_are_few_places(loop: Loop) -> None:
    async def run() -> None:
        async with front(HandshakeLimits(NEVER_S, 5.0, places=4, crowded_s=NEVER_S)) as made:
            assert await asyncio.gather(*(made.greeted() for _ in range(40))) == [b"hello"] * 40
            assert not made.faults

    run_on(loop, run)


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", HandshakeFault.PLAIN_HTTP),
        (b"CONNECT h:443 HTTP/1.1\r\n\r\n", HandshakeFault.PLAIN_HTTP),
        (b"\x00" * 64, HandshakeFault.NOT_TLS),
        (b"SSH-2.0-OpenSSH_9.2\r\n", HandshakeFault.NOT_TLS),
        (b"\x16\x03\x01\x00\x05hello", HandshakeFault.NOT_TLS),
    ],
)
@each_loop
def test_what_is_not_tls_is_closed_and_counted_by_what_it_is(said: bytes, why: HandshakeFault, loop: Loop) -> None:
    async def run() -> None:
        async with front(HandshakeLimits(NEVER_S, 1.0)) as made:
            reader, writer = await asyncio.open_connection("127.0.0.1", made.port)
            writer.write(said)
            await reader.read()
            writer.close()
            await writer.wait_closed()
            await until("it is counted", lambda: made.faults == {why: 1})
            await until("it is out", lambda: made.over == 1)

    run_on(loop, run)


@each_loop
def test_to_stop_gives_up_handshakes_under_way(loop: Loop) -> None:
    async def run() -> None:
        async with front(HandshakeLimits(NEVER_S, 1.0)) as made:
            reader = await made.silent()
            assert await made.greeted() == b"hello"  # The one before was accepted, too.
        assert await reader.read() == b""
        await until("it is out", lambda: made.over == 2)
        assert not made.faults, "it is not the client's fault"

    run_on(loop, run)
