"""EDGE. The sockets on which jobs arrive: TCP, unix, or handed over by systemd."""

from __future__ import annotations

import asyncio
import errno
import os
import socket
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from orchd.errors import Code, OrchdError, reason_of
from orchd.settings.addresses import split_listen
from orchd.settings.names import flag_name
from orchd.tcp_listeners import taken_by

BACKLOG = 4096
_FIRST_PASSED = 3  # SD_LISTEN_FDS_START of sd_listen_fds(3).


async def listen(
    setting: str, where: Sequence[str], protocol: Callable[[], asyncio.BaseProtocol], env: Mapping[str, str]
) -> list[asyncio.Server]:
    """Open all addresses of a listener, or none. Who connects waits in the queue until `start_serving` is called.

    Args:
        setting: that names the addresses.
        where: the addresses.
        protocol: makes one for a connection that has come.
        env: where systemd says which sockets it has handed over.

    Raises:
        OrchdError: ADDRESS_IN_USE; SETTING_INVALID for what can't be listened on.
    """
    servers: list[asyncio.Server] = []
    opened: list[str] = []
    try:
        for address in where:
            try:
                servers += (here := await _open(address, protocol, env))
                opened.append(address)
                for bound in (bound for server in here for bound in server.sockets):
                    with socket.socket(fileno=os.dup(bound.fileno())) as ours:
                        ours.listen(BACKLOG)
            except OSError as exc:
                raise OrchdError(
                    f"cannot listen on {address} for jobs: {_why(exc, address)}; choose another address with "
                    f"{flag_name(setting)}",
                    code=Code.ADDRESS_IN_USE if exc.errno == errno.EADDRINUSE else Code.SETTING_INVALID,
                ) from exc
    except BaseException:
        for server in servers:
            server.close()
        remove_sockets(opened)
        raise
    return servers


def _why(exc: OSError, address: str) -> str:
    if exc.errno != errno.EADDRINUSE or address == "systemd" or address.startswith("unix:"):
        return reason_of(exc)
    return taken_by(*split_listen(address), reason_of(exc))


async def _open(
    address: str, protocol: Callable[[], asyncio.BaseProtocol], env: Mapping[str, str]
) -> list[asyncio.Server]:
    loop = asyncio.get_running_loop()
    if address == "systemd":
        return [
            await loop.create_server(protocol, sock=passed, backlog=BACKLOG, start_serving=False)
            for passed in _passed(env)
        ]
    if address.startswith("unix:"):
        bound = _bind(Path(address.removeprefix("unix:")))
        return [await loop.create_unix_server(protocol, sock=bound, backlog=BACKLOG, start_serving=False)]
    return [await loop.create_server(protocol, *split_listen(address), backlog=BACKLOG, start_serving=False)]


def remove_sockets(where: Sequence[str]) -> None:
    """Remove the files of unix sockets that we listened on."""
    for address in where:
        if address.startswith("unix:"):
            Path(address.removeprefix("unix:")).unlink(missing_ok=True)


def _bind(path: Path) -> socket.socket:
    """Return a socket bound there, for owner and group; a socket file on which no program listens any more is replaced.

    Raises:
        OSError: EADDRINUSE, another program listens there, or the file is not a socket.
    """
    if path.is_socket():
        with socket.socket(socket.AF_UNIX) as probe:
            probe.setblocking(False)  # Where many wait to be accepted, connecting would wait too.
            if probe.connect_ex(str(path)) == errno.ECONNREFUSED:
                path.unlink(missing_ok=True)
    bound = socket.socket(socket.AF_UNIX)
    try:
        bound.bind(str(path))
        path.chmod(0o660)  # A service's umask often leaves just the owner.
    except OSError:
        bound.close()
        raise
    return bound


def _passed(env: Mapping[str, str]) -> list[socket.socket]:
    """Return the sockets that systemd handed over (sd_listen_fds(3)).

    Raises:
        OrchdError: SETTING_INVALID, there are none.
    """
    given = env.get("LISTEN_FDS", "") if env.get("LISTEN_PID") == str(os.getpid()) else ""
    count = int(given) if given.isdecimal() else 0
    if not count:
        raise OrchdError(
            "cannot listen on systemd for jobs: no socket was handed over; start orchd by a .socket unit "
            "(deploy/orchd.socket), or choose another address with --jobs-listen",
            code=Code.SETTING_INVALID,
        )
    sockets = []
    for number in range(_FIRST_PASSED, _FIRST_PASSED + count):
        os.set_inheritable(number, False)
        sockets.append(socket.socket(fileno=number))
    return sockets
