"""`python -m tests.bench.proxy`: the job path of orchd beside nginx and HAProxy, as Markdown on stdout.

Each proxy is pinned to one core, load and backend (proxy_load.c) to another. In each run every load is given to every
program in turn, so that what else the machine does meets all alike; figures are medians over the runs. CPU is user and
system time of the proxy's processes during the load. Needs nginx, HAProxy and a C compiler; loopback only; about ten
minutes; ends by itself, with all that it started.

--quick           every load once and briefly: tells that the bench works, not how fast anything is
--programs a,b    only these, of: direct, nginx, haproxy, haproxy-splice, orchd
--loads x,y       only these, of: small1, small16, small256, frame1, frame4, up, down, sse, ws, memory
--runs N          in place of 5
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import secrets
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import FrameType

from tests.bench.proxy_loads import LOADS, MEMORY, Runner, Sample, memory
from tests.bench.proxy_programs import NAMES, TOOLS, Missing, Program, Stand, check, find
from tests.bench.proxy_report import Memory, bars, memory_table, sse_table, table
from tests.bench.report import markdown

RUNS, SECONDS, QUICK_SECONDS = 5, 1.5, 0.2
SSE_SECONDS, QUICK_SSE_SECONDS = 2.0, 1.2  # longer than the time between two events
LIMIT_S = 1800
DESCRIPTORS = 32_768
SIGNALS = (signal.SIGTERM, signal.SIGALRM, signal.SIGINT)


class Bench:
    """One invocation. Args:
    programs, loads: names, in the order in which they are measured.
    """

    def __init__(self, programs: list[str], loads: list[str], runs: int, quick: bool) -> None:
        self._programs, self._loads, self._runs, self._quick = programs, loads, runs, quick
        self._samples: dict[str, dict[str, list[Sample]]] = {
            load: {program: [] for program in programs} for load in loads if load != MEMORY
        }
        self._memory: list[Memory] = []
        self._checked: bool | None = None

    def measure(self, folder: Path) -> None:
        """Do all runs.

        Raises:
            RuntimeError: a program could not be started, or an answer was wrong.
        """
        token = secrets.token_hex(16)
        with ExitStack() as stack:
            stand = Stand(stack, folder, token)
            runner = Runner(stand, folder, token, QUICK_SECONDS if self._quick else SECONDS)
            running = {name: stand.start(name) for name in self._programs}
            for program in running.values():
                if program.pid and not runner.logs_each_job(program):
                    raise RuntimeError(f"cannot compare {program.name}: it does not log each job")
            if "orchd" in running:
                self._checked = runner.refuses_wrong_token(running["orchd"])
            for run in range(self._runs):
                for load in self._loads:
                    if load == MEMORY:
                        self._measure_memory(runner)
                        continue
                    # The first and the last of a turn should not always be the same.
                    first = run % len(self._programs)
                    for name in self._programs[first:] + self._programs[:first]:
                        sample = self._turn(runner, load, running[name])
                        self._samples[load][name].append(sample)
                        _tell(run, load, name, sample)

    def _turn(self, runner: Runner, load: str, program: Program) -> Sample:
        if load != "sse":
            sample = runner.measure(LOADS[load], program)
            program.empty_log()
            return sample
        # A fresh program: one that had many connections before keeps their memory, and would seem to need none.
        longer = Runner(runner.stand, runner.folder, runner.token, QUICK_SSE_SECONDS if self._quick else SSE_SECONDS)
        with runner.stand.running(program.name) as fresh:
            runner.measure(_SETTLE, fresh)
            return longer.measure(LOADS[load], fresh)

    def _measure_memory(self, runner: Runner) -> None:
        if "orchd" not in self._programs:
            return
        with runner.stand.running("orchd") as fresh:
            runner.measure(_SETTLE, fresh)
            self._memory.append(memory(runner, fresh))
        print(f"memory: {self._memory[-1]}", file=sys.stderr, flush=True)

    def report(self) -> str:
        """Return all that was measured, as Markdown."""
        sections = [
            sse_table(turns) if load == "sse" else table(LOADS[load], turns) for load, turns in self._samples.items()
        ]
        if self._memory:
            sections.append(memory_table(self._memory))
        sections.append(bars(self._samples, self._memory))
        return "\n".join(["# Proxies\n", self._machine(), *map(markdown, sections)])

    def _machine(self) -> str:
        model = next(
            (
                line.split(":", 1)[1].strip()
                for line in Path("/proc/cpuinfo").read_text().splitlines()
                if "model name" in line
            ),
            platform.machine(),
        )
        parts = [
            f"{model}, {os.cpu_count()} cores, Linux {platform.release()}",
            *sorted({_version(TOOLS[name]) for name in self._programs if name in TOOLS}),
            f"Python {platform.python_version()}",
            *(f"{name} {_installed(name)}" for name in ("orchd", "uvloop", "httptools")),
            f"{self._runs} run{'s' * (self._runs != 1)} of {QUICK_SECONDS if self._quick else SECONDS:g} s a turn",
        ]
        if self._checked is not None:
            parts.append(f"orchd refuses a wrong token: {'yes' if self._checked else 'NO, the hook is not on'}")
        return "; ".join(parts) + ".\n"


_SETTLE = LOADS["small16"]
"""What is made at first use is made by this, before memory is looked at."""


def _tell(run: int, load: str, name: str, sample: Sample) -> None:
    more = f", {sample.memory / 1024:.1f} KB each" if load == "sse" else ""
    figures = f"{sample.per_s:,.0f}/s, p50 {sample.p50_us:,.0f} us, CPU {sample.cpu_us:,.1f} us{more}"
    print(f"run {run + 1}, {load}, {name}: {figures}", file=sys.stderr, flush=True)


def _version(program: str) -> str:
    said = subprocess.run([find(program), "-v"], capture_output=True, text=True)
    return (said.stdout + said.stderr).splitlines()[0].removesuffix(" - https://haproxy.org/")


def _installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(none)"


def _names(known: Sequence[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        if unknown := set(text.split(",")) - set(known):
            raise argparse.ArgumentTypeError(f"{', '.join(sorted(unknown))}: choose from {', '.join(known)}")
        return text.split(",")

    return parse


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)  # what was started is now ended in order, and only once
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.proxy", allow_abbrev=False)
    parser.add_argument("--quick", action="store_true", help="every load once and briefly")
    parser.add_argument("--programs", type=_names(NAMES), default=list(NAMES), metavar="A,B", help=", ".join(NAMES))
    known = (*LOADS, MEMORY)
    parser.add_argument("--loads", type=_names(known), default=list(known), metavar="X,Y", help=", ".join(known))
    parser.add_argument("--runs", type=int, help=f"default: {RUNS}, or 1 if quick")
    args = parser.parse_args()
    try:
        check(args.programs)
    except Missing as exc:
        print(exc, file=sys.stderr)
        return 2
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(DESCRIPTORS, hard), hard))
    for number in SIGNALS:
        signal.signal(number, _interrupt)
    signal.alarm(LIMIT_S)
    bench = Bench(args.programs, args.loads, args.runs or (1 if args.quick else RUNS), args.quick)
    try:
        with tempfile.TemporaryDirectory(prefix="orchd-bench-") as folder:
            bench.measure(Path(folder))
    except KeyboardInterrupt:
        return 130
    except RuntimeError as exc:
        print(exc, file=sys.stderr)
        return 1
    print(bench.report())
    return 0


if __name__ == "__main__":
    sys.exit(main())
