"""`python -m tests.bench`: figures of this machine, now, as Markdown on stdout. Loopback only; ends by itself.

--quick       every section once and briefly: tells that the bench works, not how fast anything is
--no-docker   leave out what needs a Docker Engine
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.errors import DockerException

from tests.bench import loop
from tests.bench.database import transactions
from tests.bench.jobs import job_path
from tests.bench.ledger import payments
from tests.bench.readers import readers
from tests.bench.report import Section, markdown
from tests.bench.turns import turns
from tests.bench.waits import fresh_daemon, none_left
from tests.docker_images import runner_image

LIMIT_S = 600.0


@dataclass(frozen=True, slots=True)
class Effort:
    """Attributes:
    turns, seconds: how often and how long each side of a load is measured.
    rounds: payments of a hundred tickets by each of 64 payers.
    times: of each happening. `adopted`: containers at a start. `starts`: of the daemon.
    models: how many of them the loop turns for. `readers`: that wait for a segment.
    """

    turns: int
    seconds: float
    rounds: int
    times: int
    adopted: int
    starts: int
    models: tuple[int, ...]
    readers: tuple[int, ...]


FULL = Effort(turns=4, seconds=2.0, rounds=6, times=5, adopted=20, starts=3, models=(100, 300, 1000), readers=(1000,))
QUICK = Effort(turns=1, seconds=0.2, rounds=1, times=1, adopted=2, starts=1, models=(5, 50), readers=(50,))


async def sections(folder: Path, effort: Effort, no_docker: str) -> AsyncIterator[Section]:
    """Yield each section as soon as it is measured."""
    yield transactions(folder, effort.seconds)
    yield payments(folder, effort.rounds)
    yield await turns(effort.models)
    yield await readers(effort.readers)
    async with fresh_daemon(folder / "process") as daemon:
        for section in await job_path(daemon, effort.turns, effort.seconds):
            yield section
        daemon.write()
        await none_left(daemon)
        yield await loop.edit_to_process(daemon, effort.times)
    if no_docker:
        for title in loop.DOCKER_SECTIONS:
            yield Section(title, "Needs containers.", left_out=no_docker)
        return
    runner_image()
    with docker.APIClient(version="auto") as client:
        async with loop.docker_daemon(folder / "docker", client) as daemon:
            yield await loop.edit_to_container(daemon, client, effort.times)
            yield await loop.death_to_not_ready(daemon, client, effort.times)
            yield await loop.start_up(daemon, effort.adopted, effort.starts)


def why_no_docker() -> str:
    """Return why containers can't be had; empty = they can."""
    try:
        with docker.APIClient(version="auto") as client:
            client.ping()
    except DockerException:
        return "no Docker Engine on this machine"
    return ""


async def bench(effort: Effort, no_docker: str) -> None:
    print(f"# orchd bench\n\n{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}\n")
    with tempfile.TemporaryDirectory(prefix="orchd-bench-") as folder:
        async with asyncio.timeout(LIMIT_S):
            async for section in sections(Path(folder), effort, no_docker):
                print(markdown(section), flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="every section once and briefly")
    parser.add_argument("--no-docker", action="store_true", help="leave out what needs a Docker Engine")
    args = parser.parse_args()
    no_docker = "as asked for by --no-docker" if args.no_docker else why_no_docker()
    asyncio.run(bench(QUICK if args.quick else FULL, no_docker))
    return 0


if __name__ == "__main__":
    sys.exit(main())
