"""Why nobody answers on the port of a runner that runs: its server listens elsewhere. It reads `/proc`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from orchd import tcp_listeners
from orchd.tcp_listeners import Listener

_DOCKER_DNS = "127.0.0.11"
"""Docker's own name server listens there inside each container."""

_MOST_BYTES = 256 * 1024
"""How much of a table is read; those that listen stand first."""

_MOST_PROCESSES = 256
_MOST_SHOWN = 5


def parse(table: str) -> list[Listener]:
    """Return the listeners in the text of `/proc/PID/net/tcp`, `tcp6`, or both, Docker's name server left out."""
    return [listener for listener in tcp_listeners.parse(table) if listener.address != _DOCKER_DNS]


def of_container(port: int, listeners: Iterable[Listener] | None, exposed: Iterable[int]) -> str:
    """Return a hint for a container that nobody reaches on `port`; empty = none.

    Args:
        listeners: in it; None = unknown.
        exposed: TCP ports that its image EXPOSEs.
    """
    listeners = list(listeners or ())
    mine = [each for each in listeners if each.port == port]
    if mine:
        if all(each.loopback for each in mine):
            return (
                f"its server listens on {_shown(mine)} only, which nobody outside the container reaches: "
                "have it listen on 0.0.0.0"
            )
        return ""
    said = []
    if listeners:
        said.append(f"in the container, {_shown(listeners)} is listened on, and not port {port}")
    ports = sorted(set(exposed))
    if ports and port not in ports:
        said.append(f"its image EXPOSEs {', '.join(map(str, ports[:_MOST_SHOWN]))}")
    elif not said:
        return ""
    seen = next((each.port for each in listeners if not each.loopback), None)
    if seen is not None:
        cure = f'set "port": {seen} in its entry'
    elif listeners or not ports:
        cure = f"have it listen on 0.0.0.0:{port}"
    else:  # It may still be on its way.
        cure = f'is "port": {ports[0]} meant?'
    return f"{', and '.join(said)}: the entry's port is {port}; {cure}"


def of_process(port: int, listeners: Iterable[Listener]) -> str:
    """Return a hint for a process that nobody reaches on the port it was given; empty = none."""
    listeners = list(listeners)
    if not listeners or any(each.port == port for each in listeners):
        return ""
    return (
        f"it listens on {_shown(listeners)}, and not on the port {port} that it was given: "
        "pass {port} on in its command, or have it read PORT"
    )


def _shown(listeners: list[Listener]) -> str:
    texts = sorted(
        {
            f"[{each.address}]:{each.port}" if ":" in each.address else f"{each.address}:{each.port}"
            for each in listeners
        }
    )
    return ", ".join(texts[:_MOST_SHOWN])


def read_tables(pid: int, proc: Path = Path("/proc")) -> list[Listener] | None:
    """Return who listens in the network namespace of a process; None = it can't be read."""
    found: list[Listener] | None = None
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError), (proc / str(pid) / "net" / name).open("rb") as file:
            found = (found or []) + parse(file.read(_MOST_BYTES).decode(errors="replace"))
    return found


def is_of_container(pid: int, container: str, proc: Path = Path("/proc")) -> bool:
    """Return whether the process is one of this container: pids mean something else in another pid namespace."""
    try:
        return container in (proc / str(pid) / "cgroup").read_text()
    except OSError:
        return False


def of_tree(pid: int, proc: Path = Path("/proc")) -> list[Listener]:
    """Return on what a process and its descendants listen, as far as it can be seen."""
    inodes: set[str] = set()
    left, seen = [pid], 0
    while left and seen < _MOST_PROCESSES:
        each, seen = left.pop(), seen + 1
        with contextlib.suppress(OSError):
            for fd in (proc / str(each) / "fd").iterdir():
                with contextlib.suppress(OSError):
                    target = str(fd.readlink())
                    if target.startswith("socket:["):
                        inodes.add(target[8:-1])
        with contextlib.suppress(OSError):
            for task in (proc / str(each) / "task").iterdir():
                with contextlib.suppress(OSError, ValueError):
                    left += map(int, (task / "children").read_text().split())
    return [each for each in read_tables(pid, proc) or () if each.inode in inodes]
