"""Transactions per second of the database, alone and 64 at once, with the disk's own rate of fsyncs beside them.

Each load is a process of its own, in which a preloaded library counts the fsyncs: `fsync_count.c`. A transaction
writes one row of 200 bytes to the tables of two parts, as a ticket and its session would.
"""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import shutil
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import NamedTuple

from orchd.database.database import Database
from orchd.logs import configure_logs
from tests.bench.report import Row, Section
from tests.database.parts import PARTS, add_pair

TITLE = "Transactions"
ABOUT = (
    "One row in the tables of two parts, on the disk when it returns. CPU: of the whole process, event loop included."
)
AT_ONCE = 64
MOST_CPU_US = 150
LEAST_PER_FSYNC = 32
HEAD = ("", "transactions/s", "per fsync", "CPU each", "bars")


class Load(NamedTuple):
    """What one load has come to.

    Attributes:
        fsyncs: of the whole process meanwhile, those of checkpoints included.
        cpu_s: of the whole process meanwhile.
    """

    transactions: int
    seconds: float
    fsyncs: int
    cpu_s: float


def transactions(folder: Path, seconds: float) -> Section:
    """Measure and return the section."""
    if (compiler := shutil.which("cc")) is None:
        return Section(TITLE, ABOUT, left_out="no C compiler, which the count of fsyncs needs")
    counter = fsync_counter(compiler, folder)
    alone = _measured(folder, counter, 1, seconds)
    many = _measured(folder, counter, AT_ONCE, seconds)
    disk = Row(("the disk: fsyncs after 8 KiB each", f"{fsyncs_per_s(folder, seconds):.0f}", "1", "", ""))
    return Section(TITLE, ABOUT, HEAD, (_row("alone", alone), _row(f"{AT_ONCE} at once", many, bars=True), disk))


def fsync_counter(compiler: str, folder: Path) -> Path:
    """Return the library that counts fsyncs in the process into which it is preloaded."""
    made = folder / "fsync_count.so"
    source = Path(__file__).with_name("fsync_count.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-O2", "-o", made, source, "-ldl"], check=True)
    return made


def fsyncs_per_s(folder: Path, seconds: float) -> float:
    """Return how many times a second the disk takes 8 KiB and says that it has them: about one commit."""
    count, piece = 0, os.urandom(8192)
    with (folder / "fsync").open("wb", buffering=0) as file:
        begin = time.perf_counter()
        while (took := time.perf_counter() - begin) < seconds:
            file.write(piece)
            os.fdatasync(file.fileno())
            count += 1
    return count / took


def _row(name: str, load: Load, *, bars: bool = False) -> Row:
    per_fsync, cpu_us = load.transactions / load.fsyncs, load.cpu_s / load.transactions * 1e6
    kept = "kept" if per_fsync >= LEAST_PER_FSYNC and cpu_us <= MOST_CPU_US else "BROKEN"
    kept += f": at least {LEAST_PER_FSYNC} per fsync, at most {MOST_CPU_US} us"
    rate = f"{load.transactions / load.seconds:.0f}"
    return Row((name, rate, f"{per_fsync:.1f}", f"{cpu_us:.0f} us", kept if bars else ""))


def _measured(folder: Path, counter: Path, at_once: int, seconds: float) -> Load:
    command = [sys.executable, "-m", "tests.bench.database", str(folder / f"{at_once}.db"), str(at_once), str(seconds)]
    environment = {**os.environ, "LD_PRELOAD": str(counter)}
    done = subprocess.run([*command, str(counter)], env=environment, check=True, stdout=subprocess.PIPE)
    return Load(*json.loads(done.stdout))


async def load(path: Path, at_once: int, seconds: float, counter: ctypes.CDLL) -> Load:
    """Carry out transactions for so many seconds, `at_once` callers at a time."""
    database = Database(path, PARTS)
    await database.open()
    ids = iter(range(1, 1 << 60))
    until = time.perf_counter() + seconds
    done = 0

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() < until:
            await database.transaction(partial(add_pair, id=next(ids), value="x" * 200))
            done += 1

    fsyncs, begin, cpu = counter.fsync_count(), time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller() for _ in range(at_once)))
    measured = Load(done, time.perf_counter() - begin, counter.fsync_count() - fsyncs, time.process_time() - cpu)
    await database.close()
    return measured


def main() -> None:
    """Be the process of one load; the result goes to stdout as JSON."""
    path, at_once, seconds, counter = sys.argv[1:]
    configure_logs("text", "error", sys.stderr)
    library = ctypes.CDLL(counter)  # The one that is preloaded already.
    library.fsync_count.restype = ctypes.c_long
    print(json.dumps(asyncio.run(load(Path(path), int(at_once), float(seconds), library))))


if __name__ == "__main__":
    main()
