"""`python -m tests.bench.compare OLD NEW`: the data plane of two trees, as Markdown on stdout.

OLD and NEW are checkouts of orchd. Each gives its own `tests.bench.proxy` to its own orchd, in turns, so that what else
the machine does meets both alike; this Python runs both. For each load: medians and ranges over the runs, and a
verdict. "worse" means that the median is more than 5 % worse *and* the ranges do not overlap. CPU per job is the figure
that a busy machine changes least. Exits with 1 if anything is worse.

--runs N      of each tree (5)
--loads x,y   as of tests.bench.proxy
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.bench.report import Row, Section, markdown

RUNS = 5
LOADS = ("small1", "small16", "small256", "frame1", "frame4", "up", "down", "sse", "ws")
TOLERANCE = 0.05
TOLD = re.compile(
    r"run \d+, (?P<load>[\w-]+), orchd: (?P<rate>[\d,]+)/s, p50 (?P<p50>[\d,]+) us, CPU (?P<cpu>[\d,.]+) us"
)


@dataclass(frozen=True, slots=True)
class Figure:
    """One kind of figure. Attributes:
    more_is_better: of the rate; of times, less is.
    """

    name: str
    unit: str
    more_is_better: bool = False


FIGURES = {"rate": Figure("rate", "/s", more_is_better=True), "p50": Figure("p50", "us"), "cpu": Figure("CPU", "us")}

Samples = dict[tuple[str, str], list[float]]
"""By load and figure, one for each run."""


def told(lines: Iterable[str]) -> Samples:
    """Return the figures in what tests.bench.proxy told on stderr."""
    samples: Samples = {}
    for line in lines:
        if (match := TOLD.match(line)) is not None:
            for figure in FIGURES:
                samples.setdefault((match["load"], figure), []).append(float(match[figure].replace(",", "")))
    return samples


def verdict(figure: Figure, old: Sequence[float], new: Sequence[float]) -> str:
    """Return whether the new figures are "worse", "better" or the "same"."""
    before, after = statistics.median(old), statistics.median(new)
    if max(min(old), min(new)) <= min(max(old), max(new)) or abs(after - before) <= TOLERANCE * before:
        return "same"
    return "better" if (after > before) is figure.more_is_better else "worse"


def table(old: Samples, new: Samples) -> Section:
    """Return all figures that both have."""
    rows = [
        Row((load, FIGURES[name].name, *_compared(name, before, new[load, name])))
        for (load, name), before in old.items()
        if (load, name) in new
    ]
    about = "Medians, and the lowest and highest of the runs; CPU is user and system time of orchd for each job."
    return Section("Two trees", about, ("load", "", "old", "new", "new/old", "verdict"), tuple(rows))


def _compared(name: str, old: Sequence[float], new: Sequence[float]) -> tuple[str, str, str, str]:
    ratio = statistics.median(new) / statistics.median(old) if statistics.median(old) else 1.0
    return _spread(old), _spread(new), f"{ratio:.3f}", verdict(FIGURES[name], old, new)


def _spread(values: Sequence[float]) -> str:
    return f"{statistics.median(values):,.1f} ({min(values):,.1f} to {max(values):,.1f})"


def one_run(tree: Path, loads: str) -> Samples:
    """Run a tree's bench once.

    Raises:
        RuntimeError: it failed.
    """
    command = [sys.executable, "-m", "tests.bench.proxy", "--programs", "orchd", "--loads", loads, "--runs", "1"]
    # The tree comes first, whatever orchd is installed.
    env: Mapping[str, str] = {**os.environ, "PYTHONPATH": str(tree)}
    done = subprocess.run(command, cwd=tree, env=env, capture_output=True, text=True)
    samples = told(done.stderr.splitlines())
    if done.returncode or not samples:
        raise RuntimeError(f"the bench of {tree} failed: {done.stderr[-2000:]}")
    return samples


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.compare", allow_abbrev=False)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--loads", default=",".join(LOADS))
    args = parser.parse_args()
    trees = (args.old.resolve(), args.new.resolve())
    found: tuple[Samples, Samples] = ({}, {})
    for run in range(args.runs):
        for which in (0, 1) if run % 2 == 0 else (1, 0):  # Neither is always the first.
            for key, values in one_run(trees[which], args.loads).items():
                found[which].setdefault(key, []).extend(values)
        print(f"run {run + 1} of {args.runs} is done", file=sys.stderr, flush=True)
    section = table(*found)
    print(markdown(section))
    return int(any(row.cells[-1] == "worse" for row in section.rows))


if __name__ == "__main__":
    sys.exit(main())
