"""EDGE. Host names, looked up outside the event loop: one look-up at a time per name; the last answer is kept.

An event loop has few threads for all look-ups together (uvloop: two), and a name server that does not answer occupies
each of them for many seconds. Here every look-up has a thread of its own, so a silent server delays only the names that
it is asked for. Addresses and `localhost` are never looked up.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import ssl
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any, TypeVar

import structlog

from orchd.reasons import NO_WAY, is_ours, why
from orchd.tasks import cancel, spawn
from orchd.threads import DaemonThreads

log = structlog.get_logger("orchd.names")

FRESH_S = 1.0
"""How many seconds an answer is used without a new look-up. Long enough that a burst of connections needs only one;
short enough that a restarted container, which may have another address, is found again soon."""

PATIENCE_S = 0.5
"""Longest wait for a new look-up if an earlier answer is known. While look-ups fail or take longer, the earlier answer
is used at once."""

NEXT_ADDRESS_S = 1.0
"""If a name has several addresses: how many seconds to wait for a connection before the next address is tried."""

MOST_LOOK_UPS = 64
"""Greatest number of threads. More look-ups than this wait for a free thread."""

MOST_NAMES = 1024
"""Greatest number of names that are remembered. Containers get new names all the time: the names that were asked for
longest ago are forgotten."""

LOCALHOST = ("127.0.0.1", "::1")

P = TypeVar("P", bound=asyncio.BaseProtocol)
LookUp = Callable[[str], tuple[str, ...]]


class NoAddress(OSError):
    """No address is known for a name."""


class NotAllowed(OSError):
    """No address of a host may be dialled."""


@dataclass(slots=True)
class _Name:
    """What is known of one name.

    Attributes:
        found: the last answer; empty = none yet.
        found_at: when it came (loop clock).
        pending: the look-up that waits or is under way; its result is the answer or the error.
        doubtful: the newest look-up has failed or takes long.
    """

    found: tuple[str, ...] = ()
    found_at: float = 0.0
    pending: asyncio.Future[tuple[str, ...] | OSError] | None = None
    doubtful: bool = False


class Names:
    """Looks up host names. Belongs to one event loop.

    Args:
        look_up: returns the addresses of a name, the best first; it blocks, and raises OSError.
    """

    def __init__(self, look_up: LookUp | None = None) -> None:
        self._look_up = look_up or system_look_up
        self._names: OrderedDict[str, _Name] = OrderedDict()
        self._threads = DaemonThreads("names", MOST_LOOK_UPS)
        self._tasks: set[asyncio.Task[Any]] = set()

    async def addresses(self, host: str) -> tuple[str, ...]:
        """Return the IP addresses of a host, best first; at least one.

        Raises:
            OSError: `NoAddress`, or what we ourselves ran out of (`reasons.is_ours`).
        """
        if (known := without_look_up(host)) is not None:
            return known
        now = asyncio.get_running_loop().time()
        name = self._names.setdefault(host, _Name())
        self._names.move_to_end(host)
        if name.found and now - name.found_at < FRESH_S:
            return name.found
        pending = name.pending or self._begin(host, name)
        if not name.found:
            return _checked(await asyncio.shield(pending))
        if not name.doubtful:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PATIENCE_S):
                    await asyncio.shield(pending)
            if name.pending is pending:
                name.doubtful = True
                log.warning("name_look_up_slow", name=host, uses=name.found[0])
        return name.found

    def awaits(self, host: str) -> bool:
        """Return whether a name that has no answer yet is being looked up: callers now wait for a name server."""
        name = self._names.get(host)
        return name is not None and not name.found and name.pending is not None

    async def connect(
        self,
        factory: Callable[[], P],
        host: str,
        port: int,
        tls: ssl.SSLContext | None = None,
        may_dial: Callable[[str], bool] | None = None,
    ) -> tuple[asyncio.BaseTransport, P]:
        """As `loop.create_connection`: the addresses of the host are tried in order, each with a new protocol.

        Args:
            may_dial: returns whether an address may be tried: what it allows is what is dialled, without another
                look-up.

        Raises:
            OSError: no address accepts the connection, or the host has none; NotAllowed: or none may be tried.
        """
        loop = asyncio.get_running_loop()
        addresses = await self.addresses(host)
        if may_dial is not None:
            addresses = tuple(filter(may_dial, addresses))
            if not addresses:
                raise NotAllowed(f"no address of {host} may be dialled at port {port}")
        if addresses == (host,):
            return await loop.create_connection(factory, host, port, ssl=tls)
        name = host.rstrip(".") if tls is not None else None
        errors: list[OSError] = []
        for address in addresses:
            last = address is addresses[-1]
            try:
                async with asyncio.timeout(None if last else NEXT_ADDRESS_S):
                    return await loop.create_connection(factory, address, port, ssl=tls, server_hostname=name)
            except TimeoutError:
                errors.append(TimeoutError(f"no answer from {address} within {NEXT_ADDRESS_S:g} s"))
            except OSError as exc:
                errors.append(exc)
        raise _together(addresses, errors)

    async def close(self) -> None:
        """End without waiting: look-ups that hang end with the process."""
        self._threads.close()
        await cancel(*self._tasks)

    def _begin(self, host: str, name: _Name) -> asyncio.Future[tuple[str, ...] | OSError]:
        name.pending = asyncio.get_running_loop().create_future()
        task = spawn(self._ask(host, name, name.pending), name=f"look up {host}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        while len(self._names) > MOST_NAMES and next(iter(self._names.values())).pending is None:
            self._names.popitem(last=False)
        return name.pending

    async def _ask(self, host: str, name: _Name, pending: asyncio.Future[tuple[str, ...] | OSError]) -> None:
        answer: tuple[str, ...] | OSError = NoAddress(f"the name {host} has no address")
        try:
            answer = await self._threads.run(partial(self._look_up, host)) or answer
        except (OSError, UnicodeError, RuntimeError) as exc:
            answer = _translated(host, exc)
        finally:  # Whatever happened: callers wait for `pending`.
            name.pending = None
            self._note(host, name, answer)
            pending.set_result(answer)

    def _note(self, host: str, name: _Name, answer: tuple[str, ...] | OSError) -> None:
        if isinstance(answer, tuple):
            if name.doubtful:
                log.info("name_look_up_back", name=host)
            name.found, name.found_at, name.doubtful = answer, asyncio.get_running_loop().time(), False
        elif name.found and not name.doubtful:
            name.doubtful = True
            log.warning("name_look_up_failed", name=host, reason=str(answer), uses=name.found[0])


@lru_cache(maxsize=MOST_NAMES)
def without_look_up(host: str) -> tuple[str, ...] | None:
    """Return the addresses of `host` if it needs no look-up: it is an address, or this machine; None = it needs one."""
    if host.rstrip(".").lower() == "localhost":
        return LOCALHOST
    for family in (socket.AF_INET, socket.AF_INET6):
        with contextlib.suppress(OSError, ValueError):
            socket.inet_pton(family, host.partition("%")[0] if family is socket.AF_INET6 else host)
            return (host,)
    return None


def system_look_up(host: str) -> tuple[str, ...]:
    """Ask the system (hosts file, name servers) for the addresses of a host. Blocks."""
    return tuple(dict.fromkeys(str(found[4][0]) for found in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)))


def _translated(host: str, exc: OSError | UnicodeError | RuntimeError) -> OSError:
    if isinstance(exc, RuntimeError):
        return OSError(errno.EAGAIN, "no thread could be started")
    if isinstance(exc, OSError) and is_ours(exc):
        return OSError(errno.ENOMEM, "no memory left") if isinstance(exc, socket.gaierror) else exc
    return NoAddress(f"the name {host} can't be resolved: {why(exc)}")


def _checked(answer: tuple[str, ...] | OSError) -> tuple[str, ...]:
    if isinstance(answer, OSError):
        raise answer
    return answer


def _together(addresses: tuple[str, ...], errors: list[OSError]) -> OSError:
    """Return one error for several: one of them if all that concern the other side say the same."""
    telling = [
        (address, error)
        for address, error in zip(addresses, errors, strict=True)
        if not is_ours(error) and error.errno not in NO_WAY
    ]
    if len({why(error) for _, error in telling}) <= 1:
        return telling[0][1] if telling else errors[0]
    return OSError("; ".join(f"{address}: {why(error)}" for address, error in telling))


def has_way(address: str, port: int) -> bool:
    """Return whether this machine has an address from which it can reach `address`. Sends nothing.

    `EADDRNOTAVAIL` means either that there is none or that all its ports are taken; this tells the two apart.
    """
    try:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM) as probe:
            probe.connect((address, port))
    except OSError:
        return False
    return True
