"""Many models: what scrapes, snapshots, idle turns, an applied file and probes cost, and what jobs feel of them.

`python -m tests.bench.pages` prints it with the bars that it must keep, and ends with 1 if one is missed.

--quick   few models, briefly, and no bar: tells that it works, not how fast anything is

What holds the event loop is CPU time of single callbacks (`held.py`), so that other programs of the machine do not
count. What jobs feel is measured on the loop that orchd ships with, in turns with and without scrapes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import platform
import re
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.empty_loop import control
from tests.bench.held import GARBAGE, HOLDS
from tests.bench.load import Load, Target, load
from tests.bench.report import Row, Section, markdown
from tests.bench.waits import Json, fresh_daemon
from tests.e2e.daemon import Daemon

LIMIT_S = 900.0
ASKED_S = 0.2
"""Between two questions whether all models are ready: while they come up, each answer costs milliseconds itself."""
HOLD_BAR_MS, FILE_BAR_MS, FILE_ALL_BAR_S = 2.0, 10.0, 1.0
CONTROL = "idle, an empty loop"
"""What holds a loop that only connects as often as the probes do: this machine, not orchd. It has no bar itself: it is
added to the bar of orchd's idle loop."""
PROBED_S = 5.0
P99_BAR_MS, CPU_BAR, MEMORY_BAR_MB, PAGE_BAR_MB = 3.0, 15.0, 150.0, 2.0


@dataclass(frozen=True, slots=True)
class Effort:
    """Attributes:
    few, many: models; growth is from the one to the other.
    idle_s: how long it is left alone, and probed.
    times: pages and edits. `turns`, `seconds`: of the load, with and without scrapes.
    """

    few: int
    many: int
    idle_s: float
    times: int
    turns: int
    seconds: float


FULL = Effort(few=100, many=1000, idle_s=20.0, times=5, turns=5, seconds=4.0)
QUICK = Effort(few=3, many=6, idle_s=1.0, times=1, turns=1, seconds=0.3)


@dataclass(slots=True)
class Figures:
    """What was measured with one number of models. Longest holds in ms, by what was done; the rest by its name."""

    models: int
    holds_ms: dict[str, float] = field(default_factory=dict)
    holder: dict[str, str] = field(default_factory=dict)
    file_s: float = 0.0
    metrics_mb: float = 0.0
    status_mb: float = 0.0
    scrape_s: float = 0.0
    cpu_percent: float = 0.0
    memory_mb: float = 0.0
    p99_ms: float = 0.0
    p99_scraped_ms: float = 0.0
    scrapes: int = 0


@contextlib.asynccontextmanager
async def small_runner() -> AsyncIterator[str]:
    """Yield the URL of one."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.small_runner"), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(await process.stdout.readline())}"
    finally:
        process.kill()
        await process.wait()


def entries(url: str, count: int) -> list[Json]:
    return [
        {"pipeline": "bench", "model_id": f"m-{n}", "url": url, "maxSessions": 8, "price_per_unit": 0}
        for n in range(count)
    ]


class Holds:
    """What held the loop, as the daemon wrote it down."""

    def __init__(self, file: Path) -> None:
        self._file = file

    async def longest(self, during: Callable[[], Awaitable[object]]) -> tuple[float, str, float]:
        """Return the longest hold, ms, and whose it was, while that is done, and the sum of all of them, s."""
        began = time.monotonic()
        await during()
        await asyncio.sleep(0.2)
        return self.since(began)

    def since(self, began: float) -> tuple[float, str, float]:
        """Return the same of what began after that (monotonic clock)."""
        lines = self._file.read_text().splitlines() if self._file.exists() else []
        all_of = (line.split(" ", 2) for line in lines)
        found = [(float(took), whose) for at, took, whose in all_of if float(at) >= began]
        took, whose = max(found, default=(0.0, "nothing"))
        return took * 1000, whose, sum(each for each, _ in found)


async def told_ready(daemon: Daemon, count: int) -> None:
    """Wait until the log has told of so many runners that they are ready: to ask the daemon would cost its CPU time."""
    told, rest = 0, ""
    with daemon.log.open() as log:
        async with asyncio.timeout(LIMIT_S):
            while told < count:
                *lines, rest = (rest + log.read()).split("\n")
                told += sum('"runner_state"' in line and '"state": "ready"' in line for line in lines)
                await asyncio.sleep(0.01)


async def ready(daemon: Daemon, count: int) -> None:
    """Wait until there are so many models, no more, the daemon has started, and all of them can serve."""
    url = f"http://127.0.0.1:{daemon.admin_port}/readyz"

    async def all_of_them() -> bool:
        await asyncio.sleep(ASKED_S)
        async with daemon.client.get(url) as answer:
            models = (await answer.json())["models"]
            return answer.status == 200 and bool(models["wanted"] == count == models["can_serve"])

    await daemon.until(f"{count} models are ready", all_of_them)


async def page(daemon: Daemon, path: str) -> int:
    """Return the size of a page."""
    async with daemon.client.get(f"http://127.0.0.1:{daemon.admin_port}{path}") as answer:
        assert answer.status == 200
        return len(await answer.read())


def used_s(daemon: Daemon) -> float:
    """Return the CPU time of the daemon, all its threads."""
    assert daemon.process is not None
    numbers = Path(f"/proc/{daemon.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(numbers[11]) + int(numbers[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(daemon: Daemon) -> float:
    assert daemon.process is not None
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{daemon.process.pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) * 1024 / 1e6


async def measure_holds(folder: Path, url: str, effort: Effort, figures: Figures) -> None:
    """Measure what holds the loop, in a daemon that notes it."""
    file = folder / "holds"
    daemon = fresh_daemon(folder / "held", main=("tests.bench.held",), env={HOLDS: str(file)})
    holds = Holds(file)
    async with daemon:
        await ready(daemon, 0)
        models = entries(url, figures.models)

        async def note(what: str, during: Callable[[], Awaitable[object]]) -> float:
            figures.holds_ms[what], figures.holder[what], total = await holds.longest(during)
            return total

        async def first_file() -> None:
            daemon.write(*models)
            await ready(daemon, figures.models)

        async def edit() -> None:
            for number in range(effort.times):
                models[0]["maxSessions"] = 9 + number
                daemon.write(*models)

                async def applied(most: int = 9 + number) -> bool:
                    status, body = await daemon.get("/status?model=m-0")
                    assert (status, isinstance(body, dict)) == (200, True)
                    return bool(body["models"][0]["sessions"]["max"] == most)

                await daemon.until("the edit has been applied", applied)

        async def scrapes(path: str) -> None:
            for _ in range(effort.times):
                await page(daemon, path)

        await note("the first file", first_file)
        await asyncio.sleep(min(effort.idle_s, 6))  # So that each has been probed again, and nothing is new.
        beside = folder / "empty"
        probes_s = figures.models / PROBED_S
        await note("idle", lambda: control(beside, url, probes_s, effort.idle_s))
        figures.holds_ms[CONTROL], figures.holder[CONTROL], _ = Holds(beside).since(0)
        await page(daemon, "/metrics")
        await note("/metrics", lambda: scrapes("/metrics"))
        await note("/status", lambda: scrapes("/status"))
        await note("an edited file", edit)


async def measure_whole(folder: Path, url: str, effort: Effort, figures: Figures) -> None:
    """Measure sizes, probes and jobs, in a daemon as it ships."""
    file = folder / "garbage"
    daemon = fresh_daemon(folder / "whole", main=("tests.bench.held",), env={GARBAGE: str(file)})
    async with daemon:
        await ready(daemon, 0)
        before = used_s(daemon)
        daemon.write(*entries(url, figures.models))
        await told_ready(daemon, figures.models)
        figures.file_s = used_s(daemon) - before
        await ready(daemon, figures.models)
        await asyncio.sleep(min(effort.idle_s, 6))

        async def pages() -> None:
            before, began = used_s(daemon), time.monotonic()
            await asyncio.sleep(effort.idle_s)
            figures.cpu_percent = 100 * (used_s(daemon) - before) / (time.monotonic() - began)
            await page(daemon, "/metrics")
            before = used_s(daemon)
            for _ in range(effort.times):
                figures.metrics_mb = await page(daemon, "/metrics") / 1e6
            figures.scrape_s = (used_s(daemon) - before) / effort.times
            figures.status_mb = await page(daemon, "/status") / 1e6

        what = "garbage, meanwhile"
        figures.holds_ms[what], figures.holder[what], _ = await Holds(file).longest(pages)
        figures.memory_mb = resident_mb(daemon)
        target = Target.post(f"{daemon.url}/bench", {"X-Model-Id": "m-0", "Content-Type": "application/json"}, b"{}")
        await load(target, connections=1, seconds=effort.seconds / 4)
        alone, scraped = [], []
        for _ in range(effort.turns):
            alone.append((await load(target, connections=1, seconds=effort.seconds)).percentile_us(99) / 1000)
            both, scrapes = await _scraped(daemon, target, effort.seconds)
            scraped.append(both.percentile_us(99) / 1000)
            figures.scrapes += scrapes
        figures.p99_ms, figures.p99_scraped_ms = statistics.median(alone), statistics.median(scraped)


async def _scraped(daemon: Daemon, target: Target, seconds: float) -> tuple[Load, int]:
    """Load while one scrape follows the other; return the load, and how many scrapes there were."""
    scraping = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench.scraper", f"http://127.0.0.1:{daemon.admin_port}/metrics"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert scraping.stdout is not None
    await scraping.stdout.readline()  # It has begun.
    measured = await load(target, connections=1, seconds=seconds)
    said, _ = await scraping.communicate(b"")
    return measured, int(said)


def sections(few: Figures, many: Figures) -> list[Section]:
    def growth(of: Callable[[Figures], float]) -> str:
        return f"x {of(many) / of(few):.1f}" if of(few) else "-"

    def row(name: str, of: Callable[[Figures], float], unit: str, digits: int, bar: str = "", note: str = "") -> Row:
        return Row((name, f"{of(few):.{digits}f} {unit}", f"{of(many):.{digits}f} {unit}", growth(of), bar, note))

    head = ("", f"{few.models} models", f"{many.models} models", f"growth (x {many.models / few.models:.0f})", "bar")
    bars = dict.fromkeys(many.holds_ms, f"{HOLD_BAR_MS:g} ms")
    bars |= dict.fromkeys(("the first file", "an edited file"), f"{FILE_BAR_MS:g} ms")
    bars |= {"idle": f"+{HOLD_BAR_MS:g} ms", CONTROL: ""}
    return [
        Section(
            "What holds the event loop",
            "The longest callback while it is done, in CPU time, on asyncio's own loop; and which it was.",
            (*head, "the longest"),
            tuple(
                row(
                    what,
                    lambda figures, what=what: figures.holds_ms[what],  # type: ignore[misc]
                    *("ms", 2, bars[what], many.holder[what]),
                )
                for what in many.holds_ms
            ),
        ),
        Section(
            "What many models cost",
            "`url` entries at one small runner, each probed every 5 s; a job's p99 with and without scrapes in turns.",
            (*head, ""),
            (
                row("CPU, first file", lambda f: f.file_s, "s", 2, f"{FILE_ALL_BAR_S:g} s", "until all are ready"),
                row("CPU, idle", lambda f: f.cpu_percent, "%", 1, f"{CPU_BAR:g} %", "of one core, with the probes"),
                row("memory", lambda f: f.memory_mb, "MB", 0, f"{MEMORY_BAR_MB:g} MB"),
                row("/metrics", lambda f: f.metrics_mb, "MB", 2, f"{PAGE_BAR_MB:g} MB"),
                row("/status", lambda f: f.status_mb, "MB", 2),
                row("CPU, one scrape", lambda f: f.scrape_s * 1000, "ms", 0),
                row("p99 of small jobs", lambda f: f.p99_ms, "ms", 2, "", "medians"),
                row("the same, scraped", lambda f: f.p99_scraped_ms, "ms", 2, f"+{P99_BAR_MS:g} ms", "medians"),
                Row(("scrapes", str(few.scrapes), str(many.scrapes), "", "", "meanwhile")),
            ),
        ),
    ]


def missed(few: Figures, many: Figures) -> list[str]:
    """Return which bars are not kept, in words."""
    found = []
    for what, held_ms in many.holds_ms.items():
        if what == CONTROL:
            continue
        most = FILE_BAR_MS if "file" in what else HOLD_BAR_MS
        beside = ""
        if what == "idle":
            most += many.holds_ms[CONTROL]
            beside = f", {HOLD_BAR_MS:g} more than an empty loop beside it"
        if held_ms > most:
            found.append(
                f"{what} held the loop for {held_ms:.1f} ms at a time ({many.holder[what]}), not {most:.1f}{beside}"
            )
    for name, value, most in (
        ("CPU seconds of the first file", many.file_s, FILE_ALL_BAR_S),
        ("% of a core, idle", many.cpu_percent, CPU_BAR),
        ("MB of memory", many.memory_mb, MEMORY_BAR_MB),
        ("MB of /metrics", many.metrics_mb, PAGE_BAR_MB),
        ("ms of p99 more while scraped", many.p99_scraped_ms - many.p99_ms, P99_BAR_MS),
    ):
        if value > most:
            found.append(f"{value:.2f} {name}, not {most:g}")
    linear = many.models / few.models
    tick_s = 1 / os.sysconf("SC_CLK_TCK")  # The system counts CPU time in these.
    for name, before, after in (
        ("the first file", few.file_s + tick_s, many.file_s),
        ("idle CPU", few.cpu_percent, many.cpu_percent),
        ("/metrics", few.metrics_mb, many.metrics_mb),
        ("/status", few.status_mb, many.status_mb),
    ):
        least = max(before, 0.05)  # Too little to be measured.
        if after > linear * least:
            found.append(f"{name} grows by x {after / least:.1f}, more than the models (x {linear:.0f})")
    return found


async def bench(effort: Effort) -> list[str]:
    """Print all sections; return which bars were missed."""
    print(f"# Many models\n\n{os.cpu_count()} cores, Python {platform.python_version()}, {platform.system()}\n")
    both = []
    with tempfile.TemporaryDirectory(prefix="orchd-bench-") as folder:
        async with asyncio.timeout(LIMIT_S), small_runner() as url:
            for count in (effort.few, effort.many):
                figures = Figures(count)
                await measure_holds(Path(folder) / f"{count}", url, effort, figures)
                await measure_whole(Path(folder) / f"{count}", url, effort, figures)
                both.append(figures)
    few, many = both
    for section in sections(few, many):
        print(markdown(section), flush=True)
    return missed(few, many)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.pages", allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="few models, briefly, and no bar")
    args = parser.parse_args()
    found = asyncio.run(bench(QUICK if args.quick else FULL))
    if args.quick:
        return 0
    for each in found:
        print(f"missed: {each}")
    print(f"{len(found)} bars missed" if found else "all bars kept")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
