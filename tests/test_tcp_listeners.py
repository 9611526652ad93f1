"""Who has a port that we wanted: said where `/proc` tells it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchd.tcp_listeners import holder, taken_by

COMM = Path("/proc/self/comm").read_text().strip()


@pytest.fixture(params=[("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6), ("0.0.0.0", socket.AF_INET)])
def taken(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    host, family = request.param
    with socket.socket(family) as sock:
        sock.bind((host, 0))
        sock.listen()
        yield host, sock.getsockname()[1]


def test_the_program_and_its_pid_are_named(taken: tuple[str, int]) -> None:
    assert holder(*taken) == f"{COMM} (pid {os.getpid()})"
    assert taken_by(*taken, "Address already in use") == f"Address already in use, by {COMM} (pid {os.getpid()})"


def test_an_address_that_clashes_with_it_counts_as_well(taken: tuple[str, int]) -> None:
    host, port = taken
    assert holder("0.0.0.0", port)
    assert holder("localhost", port)
    if host == "127.0.0.1":
        assert not holder("127.0.0.9", port)


def test_a_port_that_nobody_has_is_not_laid_at_anybodys_door(taken: tuple[str, int]) -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
        assert holder("127.0.0.1", port) == ""
        assert taken_by("127.0.0.1", port, "reason") == "reason"


def test_where_the_program_is_hidden_its_user_is_named(taken: tuple[str, int], tmp_path: Path) -> None:
    """As another user: `/proc/PID/fd` can't be read, and with hidepid no process but our own is there at all."""
    net = tmp_path / "self" / "net"
    net.mkdir(parents=True)
    for name in ("tcp", "tcp6"):
        (net / name).write_text(Path(f"/proc/self/net/{name}").read_text())
    assert holder(*taken, proc=tmp_path).startswith("a program of user root (as root, `ss -ltnp")


def test_without_proc_nothing_is_said(taken: tuple[str, int], tmp_path: Path) -> None:
    assert holder(*taken, proc=tmp_path) == ""
