"""Who listens on which TCP port of this machine, as `/proc` tells it."""

from __future__ import annotations

import contextlib
import ipaddress
import pwd
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
_LISTEN = "0A"
_MOST_BYTES = 256 * 1024
"""How much of a table is read; sockets that listen stand first."""


class Listener(NamedTuple):
    """A TCP socket that listens.

    Attributes:
        address: IP address in text form.
        inode: of the socket; empty = not known.
        uid: of the user that opened it; -1 = not known.
    """

    address: str
    port: int
    inode: str = ""
    uid: int = -1

    @property
    def loopback(self) -> bool:
        """Only programs in the same network namespace reach it."""
        ip = ipaddress.ip_address(self.address)
        return (getattr(ip, "ipv4_mapped", None) or ip).is_loopback


def parse(table: str) -> list[Listener]:
    """Return the listeners in the text of `/proc/PID/net/tcp`, `tcp6`, or both; unreadable lines are left out."""
    found = []
    for line in table.splitlines():
        fields = line.split()
        if len(fields) < 10 or fields[3] != _LISTEN:
            continue
        host, _, port = fields[1].partition(":")
        with contextlib.suppress(ValueError):
            found.append(Listener(_address(host), int(port, 16), fields[9], int(fields[7])))
    return found


def holder(host: str, port: int, proc: Path = PROC) -> str:
    """Return in words which program listens on a port that we wanted; empty = `/proc` does not tell.

    Args:
        host: address that we wanted, as in the settings; a name counts as every address.
        proc: where `/proc` is.
    """
    inodes: dict[str, int] = {}
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError), (proc / "self" / "net" / name).open() as file:
            inodes |= {one.inode: one.uid for one in parse(file.read(_MOST_BYTES)) if _clash(one, host, port)}
    if not inodes:
        return ""
    for pid, program in _programs(inodes, proc):
        return f"{program} (pid {pid})"
    uid = next(iter(inodes.values()))
    return f"a program of user {_user(uid)} (as root, `ss -ltnp 'sport = :{port}'` names it)"


def taken_by(host: str, port: int, reason: str) -> str:
    """Return `reason`, why we could not listen there, with who has the port, where `/proc` tells it."""
    found = holder(host, port)
    return f"{reason}, by {found}" if found else reason


def _clash(listener: Listener, host: str, port: int) -> bool:
    if listener.port != port:
        return False
    try:
        wanted = ipaddress.ip_address(host)
    except ValueError:
        return True
    has = ipaddress.ip_address(listener.address)
    return wanted == has or wanted.is_unspecified or has.is_unspecified


def _programs(inodes: dict[str, int], proc: Path) -> Iterator[tuple[int, str]]:
    """Yield pid and name of each process that has one of these sockets and whose files we may see."""
    sockets = {f"socket:[{inode}]" for inode in inodes}
    for folder in proc.iterdir():
        if not folder.name.isdecimal():
            continue
        with contextlib.suppress(OSError):  # Another user's, or it has just ended.
            if any(_target(link) in sockets for link in (folder / "fd").iterdir()):
                yield int(folder.name), (folder / "comm").read_text(errors="replace").strip()


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except (KeyError, OverflowError):
        return str(uid)


def _address(text: str) -> str:
    """Each 32 bits are in the order of the machine, which is little-endian on all that orchd runs on."""
    raw = bytes.fromhex(text)
    if len(raw) not in (4, 16):
        raise ValueError(text)
    ip = ipaddress.ip_address(b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4)))
    mapped = getattr(ip, "ipv4_mapped", None)
    return f"::ffff:{mapped}" if mapped else str(ip)  # As Python 3.13 writes it; 3.11 has ::ffff:7f00:1.
