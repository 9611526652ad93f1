"""What was measured, as tables; and whether it reaches the bars."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from tests.bench.proxy_loads import MIB, SSE, Load, Sample
from tests.bench.report import Row, Section

Turns = Mapping[str, Sequence[Sample]]
"""The samples of one load by program, in order of the runs."""

Memory = Mapping[str, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Bar:
    """`value` of `ours` at `load` is to be at most `limit` times that of `theirs`."""

    load: str
    what: str
    value: Callable[[Sample], float]
    limit: float
    theirs: str
    ours: str = "orchd"


def cpu(sample: Sample) -> float:
    return sample.cpu_us


def p50(sample: Sample) -> float:
    return sample.p50_us


BARS = (
    Bar("small16", "small JSON, 16 connections: CPU per job", cpu, 2.0, "haproxy"),
    Bar("small1", "small JSON, 1 connection: p50", p50, 1.1, "nginx"),
    Bar("frame1", "frames, 1 connection: CPU per frame", cpu, 0.8, "haproxy"),
    Bar("frame1", "frames, 1 connection: CPU per frame", cpu, 1.0, "haproxy-splice"),
    Bar("frame4", "frames, 4 connections: CPU per frame", cpu, 0.8, "haproxy"),
    Bar("frame4", "frames, 4 connections: CPU per frame", cpu, 1.0, "haproxy-splice"),
)
STREAM_LIMIT_KB = 20.0
FLAT_MIB = 1.0
"""What a body of 1 GiB may take more than one of 1 MiB: noise of the allocator."""

HEAD = ("program", "{} per s", "p50", "p99", "CPU each", "CPU to HAProxy's", "p50 to nginx's")


def median(samples: Sequence[Sample], value: Callable[[Sample], float]) -> float:
    return statistics.median(map(value, samples))


def ratios(turns: Turns, ours: str, theirs: str, value: Callable[[Sample], float]) -> list[float]:
    """Return the ratio of each run, whose turns came close after each other; empty if either has none."""
    pairs = zip(turns.get(ours, ()), turns.get(theirs, ()), strict=False)
    return [value(a) / value(b) for a, b in pairs if value(b)]


def table(load: Load, turns: Turns) -> Section:
    """Return the medians of one load."""
    unit = "messages" if load.mode == "ws" else "jobs"
    rows = tuple(_row(name, turns) for name in turns)
    return Section(load.title, load.about, (HEAD[0], HEAD[1].format(unit), *HEAD[2:]), rows)


def _row(name: str, turns: Turns) -> Row:
    samples = turns[name]
    proxy = name != "direct"
    return Row(
        (
            name,
            f"{median(samples, lambda s: s.per_s):,.0f}",
            f"{median(samples, p50):,.0f} us",
            f"{median(samples, lambda s: s.p99_us):,.0f} us",
            f"{median(samples, cpu):,.1f} us" if proxy else "-",
            _times(ratios(turns, name, "haproxy", cpu)) if proxy else "-",
            _times(ratios(turns, name, "nginx", p50)),
        )
    )


def _times(found: Sequence[float]) -> str:
    return f"x {statistics.median(found):.2f}" if found else "-"


def sse_table(turns: Turns) -> Section:
    """Return the medians of the streams."""
    rows = []
    for name, samples in turns.items():
        added = [a.p50_us - b.p50_us for a, b in zip(samples, turns.get("direct", ()), strict=False)]
        proxy = name != "direct"
        cells = (
            f"{median(samples, lambda s: s.memory) / 1024:.1f} KB" if proxy else "-",
            f"{median(samples, p50):,.0f} us",
            f"{statistics.median(added):+,.0f} us" if proxy and added else "-",
            f"{median(samples, lambda s: s.per_s):,.0f}",
            f"{median(samples, cpu):,.1f} us" if proxy else "-",
        )
        rows.append(Row((name, *cells)))
    head = ("program", "memory a stream", "first byte, p50", "added", "events per s", "CPU an event")
    return Section(SSE.title, SSE.about, head, tuple(rows))


def memory_table(runs: Sequence[Memory]) -> Section:
    """Return by how much the memory of orchd rose."""
    rows = tuple(
        Row((f"orchd, {way}", *(_mib(statistics.median(run[way][size] for run in runs)) for size in (0, 1))))
        for way in runs[0]
    )
    about = (
        "By how much the resident memory of an orchd that had only small jobs rose at most during one job of that size."
    )
    return Section("Memory by size of the body", about, ("", "1 MiB", "1 GiB"), rows)


def _mib(size: float) -> str:
    return f"{size / MIB:.2f} MiB"


def bars(samples: Mapping[str, Turns], memory: Sequence[Memory]) -> Section:
    """Return what was asked for, what was reached, and whether that is enough."""
    about = "Ratios are medians over the runs, each run's turns compared with each other; in brackets their range."
    return Section("Bars", about, ("what", "bar", "reached", "met"), tuple(_bars(samples, memory)))


def _bars(samples: Mapping[str, Turns], memory: Sequence[Memory]) -> Iterator[Row]:
    for bar in BARS:
        found = ratios(samples.get(bar.load, {}), bar.ours, bar.theirs, bar.value)
        yield _bar(bar.what, f"at most {bar.limit:.1f} x {bar.theirs}", found, bar.limit, "x {:.2f}")
    streams = [sample.memory / 1024 for sample in samples.get("sse", {}).get("orchd", ())]
    yield _bar("1,000 event streams: memory", f"at most {STREAM_LIMIT_KB:.0f} KB a stream", streams, STREAM_LIMIT_KB)
    for way in ("up", "down"):
        more = [(run[way][1] - run[way][0]) / MIB for run in memory]
        limit = f"at most {FLAT_MIB:.0f} MiB more than with 1 MiB"
        yield _bar(f"memory with a body of 1 GiB, {way}", limit, more, FLAT_MIB, "{:+.2f} MiB")


def _bar(what: str, bar: str, found: Sequence[float], limit: float, form: str = "{:.1f} KB") -> Row:
    if not found:
        return Row((what, bar, "not measured", "-"))
    middle = statistics.median(found)
    reached = f"{form.format(middle)} ({form.format(min(found))} to {form.format(max(found))})"
    return Row((what, bar, reached, "yes" if middle <= limit else "no"))
