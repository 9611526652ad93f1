"""Ports for servers of tests."""

from __future__ import annotations

import os
import subprocess
import sys

DRAWN = "from tests.ports import free_port; print(*(free_port() for _ in range(50)))"


def drawn(worker: int) -> set[str]:
    env = {**os.environ, "PYTEST_XDIST_WORKER": f"gw{worker}", "PYTEST_XDIST_WORKER_COUNT": "3"}
    said = subprocess.run([sys.executable, "-c", DRAWN], env=env, capture_output=True, text=True, check=True)
    return {str(int(port) % 3) for port in said.stdout.split()}


def test_processes_side_by_side_never_draw_the_same_port() -> None:
    assert [len(drawn(worker)) for worker in range(3)] == [1, 1, 1]
    assert len({*drawn(0), *drawn(1), *drawn(2)}) == 3
