"""Ports for servers that tests start in processes of their own.

A port that the kernel chose (`bind` to 0) is free again until the server opens it, and meanwhile another connection may
get it. So these come from below the range that the kernel takes from, and each only once in a process. Processes that
run tests side by side have a part of the range each.
"""

from __future__ import annotations

import itertools
import os
import secrets
import socket

_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_RANGE = range(10_000 + _WORKER, 32_000, _WORKERS)
_numbers = itertools.count(secrets.randbelow(len(_RANGE)))


def free_port() -> int:
    """Return a loopback port that nobody listens on, and that nothing else is given in this process."""
    for number in itertools.islice(_numbers, len(_RANGE)):
        port = _RANGE[number % len(_RANGE)]
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise AssertionError("no port is free")
