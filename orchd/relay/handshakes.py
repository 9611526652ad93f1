"""EDGE. TLS handshakes: what is accepted here becomes a caller's connection once its handshake is done, and not before.

asyncio's own servers hand connections to TLS before anybody can count them: a client that connects and says nothing
would cost a descriptor and some memory for as long as a handshake may take, without a bound. Here each handshake takes
a place. When all are taken, a new client waits in the kernel's queue, until a place is free or one has been held for
`HandshakeLimits.crowded_s`: honest handshakes take a few round trips, so one that is slower than that makes room.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from orchd.lag import Timeout
from orchd.relay.caller_wire import CallerWire, peer_of
from orchd.relay.listener import ConnectionLimit, HandshakeFault, Tls
from orchd.tasks import spawn

ACCEPTS_A_TURN = 32
RETRY_S = 1.0
"""After the kernel gave us no descriptor."""
_PLAIN_HTTP = frozenset({"HTTP_REQUEST", "HTTPS_PROXY_REQUEST"})


@dataclass(frozen=True, slots=True)
class HandshakeLimits:
    """What handshakes may take.

    Attributes:
        seconds: longest time of one.
        linger_s: how long a closing connection waits for the peer's last words.
        places: most handshakes at an address at the same time.
        crowded_s: when all places are taken, one that is held this long already is given up.
    """

    seconds: float
    linger_s: float
    places: int = 256
    crowded_s: float = 1.0


@dataclass(slots=True, eq=False)
class _Place:
    """One handshake under way.

    Attributes:
        slow_at: when it may be told to make room; loop clock without orchd's own stalls, seconds.
        limit: ends it; None = its task has not begun.
        crowded: it was told to make room.
    """

    slow_at: float
    limit: Timeout | None = None
    crowded: bool = False


class TlsServer:
    """As `asyncio.Server`, as far as `callers` uses it.

    Args:
        bound: has bound the sockets, and never serves itself.
        connection: makes the connection of a caller.
        addresses: bounds connections by address, those whose handshake is under way included; None = nothing does.
    """

    def __init__(
        self,
        bound: asyncio.Server,
        connection: Callable[[], CallerWire],
        tls: Tls,
        limits: HandshakeLimits,
        addresses: ConnectionLimit | None = None,
    ) -> None:
        self._bound = bound
        self._connection = connection
        self._tls = tls
        self._limits = limits
        self._addresses = addresses
        self._loop = asyncio.get_running_loop()
        self._listening = [socket.socket(fileno=os.dup(each.fileno())) for each in bound.sockets]
        self._places: dict[_Place, asyncio.Task[None]] = {}
        self._accepting = False
        self._again: asyncio.TimerHandle | None = None

    @property
    def sockets(self) -> tuple[socket.socket, ...]:
        """Those on which it listens."""
        return tuple(self._bound.sockets)

    async def start_serving(self) -> None:
        """Take connections from now on."""
        self._accept_more()

    def close(self) -> None:
        """Take no more, and give up handshakes under way; connections go on."""
        self._pause()
        for task in self._places.values():
            task.cancel()
        for each in self._listening:
            each.close()
        self._listening = []
        self._bound.close()

    def _accept_more(self) -> None:
        self._accepting = True
        for each in self._listening:
            each.setblocking(False)
            self._loop.add_reader(each, self._accept, each)

    def _pause(self) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None
        if self._accepting:
            self._accepting = False
            for each in self._listening:
                self._loop.remove_reader(each)

    def _pause_for(self, seconds: float) -> None:
        self._pause()
        self._again = self._loop.call_later(seconds, self._accept_more)

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(ACCEPTS_A_TURN):
            if len(self._places) >= self._limits.places and (wait_s := self._crowded()) is not None:
                return self._pause_for(wait_s)
            try:
                came, name = listening.accept()
            except (BlockingIOError, InterruptedError):
                return None
            except ConnectionError:
                continue  # It has left while it waited.
            except OSError:
                return self._pause_for(RETRY_S)
            connection = self._connection()
            if self._addresses is not None and not self._addresses.enter(connection, peer_of(name)):
                connection.give_up_unmade()
                came.close()
                continue
            came.setblocking(False)
            if came.family != socket.AF_UNIX:
                came.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
            place = _Place(self._now() + self._limits.crowded_s)
            self._places[place] = spawn(self._shake(came, connection, place), name="tls handshake")
        return None

    def _crowded(self) -> float | None:
        """Give up the handshake that began first, if it has had its time; else return for how long to wait."""
        place = next(iter(self._places))
        wait_s = place.slow_at - self._now()
        if wait_s > 0 or place.limit is None:
            return max(wait_s, 0.0)
        del self._places[place]
        place.crowded = True
        place.limit.expire()
        return None

    def _now(self) -> float:
        return self._loop.time() - self._tls.lag.stalled_s()

    async def _shake(self, came: socket.socket, connection: CallerWire, place: _Place) -> None:
        """Carry out one handshake. After it, the connection goes by itself."""
        limits = self._limits
        try:
            async with self._tls.lag.timeout(limits.seconds) as place.limit:
                await self._loop.connect_accepted_socket(
                    lambda: connection,
                    came,
                    ssl=self._tls.context,
                    ssl_handshake_timeout=2 * limits.seconds,  # Ours is first.
                    ssl_shutdown_timeout=limits.linger_s,
                )
        except TimeoutError:
            self._tls.failed(HandshakeFault.CROWDED if place.crowded else HandshakeFault.TIMEOUT)
        except ssl.SSLError as exc:
            plain = exc.reason in _PLAIN_HTTP
            self._tls.failed(HandshakeFault.PLAIN_HTTP if plain else HandshakeFault.NOT_TLS)
        except OSError:
            self._tls.failed(HandshakeFault.LEFT)
        finally:
            connection.give_up_unmade()
            if self._addresses is not None and not connection.made:
                self._addresses.leave(connection)
            self._places.pop(place, None)
            if self._again is not None and self._listening:
                self._pause()
                self._accept_more()
