"""The page of metrics: in bounded pieces, shared, and zero before a series' first increment."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Sequence

import pytest
from prometheus_client.parser import text_string_to_metric_families

from orchd.domain.ids import ModelKey
from orchd.domain.lifecycle import RunnerState
from orchd.errors import Code
from orchd.exposition import MetricsRegistry
from orchd.metric_lines import EmergingCounters, Family, Histogram, HistogramLines, Lines, Page, labels, sample
from orchd.pieces import PAUSES_AT_ONCE, PIECE_BYTES, PIECES, WAIT_S
from orchd.reconcile.metrics import LAUNCHES
from orchd.sold.metrics import SoldCollector
from orchd.tickets.ledger.metrics import LedgerCollector
from tests.collectors import Metrics
from tests.virtual_time import virtual_time

COUNTS = Family("things_total", "counter", "Things by\nkind \\ and more.")


class Watched:
    """A collector that notes what it has rendered since the last pause."""

    families = (COUNTS,)

    def __init__(self, pieces: Sequence[str]) -> None:
        self.texts = pieces
        self.since_pause: list[str] = []
        self.between: list[list[str]] = []

    def pieces(self, page: Page) -> Iterator[Sequence[str]]:
        for text in self.texts:
            self.since_pause.append(text)
            yield (text,)

    async def pause(self) -> None:
        self.between.append(self.since_pause)
        self.since_pause = []


@pytest.mark.parametrize(("pieces", "size"), [(1000, 60), (1000, 3_000), (50, 40_000), (3, 10)])
async def test_between_two_pauses_few_models_and_few_bytes_are_rendered(pieces: int, size: int) -> None:
    watched = Watched(["x" * (size - 1) + "\n"] * pieces)
    registry = MetricsRegistry(watched.pause)
    registry.register(watched)
    page = b"".join(await registry.page()).decode()
    assert page.count("\n") == pieces + 2
    for texts in (*watched.between, watched.since_pause):
        assert len(texts) <= PIECES
        assert sum(map(len, texts[:-1])) <= PIECE_BYTES, "but for the last piece"


async def test_a_page_of_many_models_pauses_as_often_as_it_is_large_and_each_chunk_is_small() -> None:
    pauses = 0

    async def pause() -> None:
        nonlocal pauses
        pauses += 1

    metrics = Metrics(MetricsRegistry(pause), "1")
    for n in range(1000):
        metrics.define(ModelKey("bench", f"m-{n}"), 1)
    chunks = await metrics.page()
    sold = tuple(family.name for family in (*LedgerCollector.families, *SoldCollector.families))
    others = [line for line in b"".join(chunks).decode().splitlines(keepends=True) if not line.startswith(sold)]
    assert sum(map(len, others)) < 2_000_000, "where orchd sells nothing itself, it has neither ledger nor sessions"
    assert sum(map(len, chunks)) < 2_750_000, "a model has 2.75 kB, 0.75 kB of it for what is sold and paid"
    assert max(map(len, chunks)) < 100_000
    assert pauses > sum(map(len, chunks)) / (2 * PIECE_BYTES)


async def test_models_that_come_and_go_during_a_page_leave_it_whole() -> None:
    keys = [ModelKey("bench", f"m-{n}") for n in range(300)]
    turn = 0

    async def pause() -> None:
        nonlocal turn
        metrics.forget(keys[turn % 300])
        metrics.define(ModelKey("new", str(turn)), 1)
        turn += 1

    metrics = Metrics(MetricsRegistry(pause), "1")
    for key in keys:
        metrics.define(key, 1)
    for _ in range(3):
        page = b"".join(await metrics.page()).decode()
        names = [family.name for family in text_string_to_metric_families(page)]
        assert len(names) == len(set(names)), "all lines of a family stand together"


async def test_scrapes_at_once_share_one_rendering_and_one_that_leaves_does_not_end_it() -> None:
    watched = Watched(["a\n"] * 100)
    registry = MetricsRegistry()
    registry.register(watched)
    leaves, *stay = [asyncio.ensure_future(registry.page(f"scraper {n}")) for n in range(5)]  # noqa: TID251
    await asyncio.sleep(0)
    leaves.cancel()
    pages = await asyncio.gather(*stay)
    assert all(page is pages[0] for page in pages)
    assert len(watched.since_pause) == 100
    assert await registry.page() is not pages[0], "the next one is new"


async def test_a_failure_is_told_to_all_and_the_next_page_is_tried_again() -> None:
    class Broken(Watched):
        def pieces(self, page: Page) -> Iterator[Sequence[str]]:
            raise ValueError("broken") if page.number == 1 else StopIteration
            yield ()

    registry = MetricsRegistry()
    registry.register(Broken([]))
    asked = await asyncio.gather(registry.page(), registry.page(), return_exceptions=True)
    assert [str(one) for one in asked] == ["broken", "broken"]


def test_what_is_new_is_at_zero_on_its_first_page_and_real_on_the_next() -> None:
    metrics, key = Metrics(MetricsRegistry(), "1"), ModelKey("p", "m")
    metrics.define(key, 1)
    head = 'orchd_job_errors_total{code="backend_broke",model_id="m",pipeline="p"} '
    assert head not in metrics.render().decode()
    for _ in range(2):
        metrics.job_finished(key, "backend_failed", Code.BACKEND_BROKE, 0.3, None, 0.0)
    first = metrics.render().decode()
    assert f"{head}0.0\n" in first
    assert 'orchd_job_failed_seconds_count{model_id="m",pipeline="p"} 0\n' in first
    assert 'orchd_jobs_total{model_id="m",outcome="backend_failed",pipeline="p"} 2.0\n' in first
    metrics.job_finished(key, "backend_failed", Code.BACKEND_BROKE, 0.3, None, 0.0)
    second = metrics.render().decode()
    assert f"{head}3.0\n" in second
    assert 'orchd_job_failed_seconds_count{model_id="m",pipeline="p"} 3.0\n' in second
    metrics.job_finished(key, "backend_failed", Code.BACKEND_BROKE, 0.3, None, 0.0)
    assert f"{head}4.0\n" in metrics.render().decode(), "it has been shown: no zero again"


def test_each_scraper_gets_the_zero_before_the_value_and_none_a_zero_after_it() -> None:
    registry = MetricsRegistry()
    counts = {"a": 0}
    lines = EmergingCounters("things_total", {}, "kind")

    class Things(Watched):
        def pieces(self, page: Page) -> Iterator[Sequence[str]]:
            yield (lines.text(page, counts),)

    registry.register(Things([]))

    def seen(scraper: str) -> str:
        return registry.render(scraper).decode().rpartition("\n# TYPE things_total counter\n")[2].strip()[-3:]

    assert [seen("one"), seen("two")] == ["", ""]
    counts["a"] = 1
    assert [seen("a person"), seen("one"), seen("two")] == ["0.0", "0.0", "0.0"]
    assert [seen("one"), seen("two"), seen("a person"), seen("another")] == ["1.0"] * 4


def test_lines_are_written_as_the_format_wants_them() -> None:
    odd = 'a"b\\c\nd'
    text = COUNTS.head() + sample("things_total", 1_234_567, kind=odd) + sample("things_total", float("inf"), kind="x")
    [family] = text_string_to_metric_families(text)
    assert family.documentation == COUNTS.help
    assert [(one.labels["kind"], one.value) for one in family.samples] == [(odd, 1_234_567), ("x", float("inf"))]
    assert labels({"b": "1", "a": "2"}) == 'a="2",b="1"'


def test_text_is_made_again_only_when_a_value_has_changed() -> None:
    lines = Lines.of("things_total", {"model": "m"}, "kind", ("a", "b"))
    first = lines.text(1, 2)
    assert lines.text(1, 2) is first
    assert lines.text(1, 3) == first.replace(" 2.0", " 3.0")


def test_a_histogram_counts_from_below_in_the_unit_of_its_family() -> None:
    histogram = Histogram((0.1, 1))
    for value in (0.1, 0.5, 3):
        histogram.observe(value)
    text = HistogramLines("took_ms", {}, histogram, scale=1000, emerging=False).text(Page(1, 0))
    assert text.splitlines() == [
        'took_ms_bucket{le="100.0"} 1.0',
        'took_ms_bucket{le="1000.0"} 2.0',
        'took_ms_bucket{le="+Inf"} 3.0',
        "took_ms_count 3.0",
        "took_ms_sum 3600.0",
    ]


def test_a_name_belongs_to_one_collector() -> None:
    registry = MetricsRegistry()
    registry.register(Watched([]))
    with pytest.raises(ValueError, match="things_total: another collector has it"):
        registry.register(Watched([]))


def test_probes_of_models_that_were_always_quick_are_counted_together() -> None:
    metrics = Metrics(MetricsRegistry(), "1")
    for name in ("quick", "slow"):
        metrics.define(ModelKey("p", name), 1)
        metrics.probed(ModelKey("p", name), "ready", 0.002)
    metrics.probed(ModelKey("p", "slow"), "ready", 1.7)
    metrics.probed(ModelKey("p", "slow"), "ready", 0.002)
    metrics.render()
    page = metrics.render().decode()
    assert 'orchd_probe_seconds_count{model_id="",pipeline=""} 2.0\n' in page
    assert 'orchd_probe_seconds_count{model_id="slow",pipeline="p"} 2.0\n' in page
    assert 'orchd_probe_seconds_count{model_id="quick"' not in page
    assert 'orchd_probes_total{model_id="slow",pipeline="p",result="ready"} 3.0\n' in page


def test_states_of_launches_are_left_out_where_orchd_launches_nothing_unless_they_were_seen() -> None:
    def states(of: Metrics) -> set[str]:
        page = of.render().decode()
        return set(re.findall(r'orchd_runners{model_id="m",pipeline="p",state="(\w+)"}', page))

    metrics, key = Metrics(MetricsRegistry(), "1"), ModelKey("p", "m")
    metrics.define(key, 1, managed=False)
    metrics.state(key, {"ready": 1}, True, False)
    assert states(metrics) == set(RunnerState) - set(LAUNCHES)
    metrics.state(key, {"stopping": 1}, False, False)  # A former definition's, which was launched.
    metrics.define(key, 1, managed=False)
    metrics.state(key, {"ready": 1}, True, False)
    assert states(metrics) == set(RunnerState)


@virtual_time
async def test_a_page_that_takes_many_pauses_leaves_the_loop_alone_in_some_of_them() -> None:
    """Else one page after the other would keep the process from ever sleeping."""
    count = 800
    watched = Watched(["x" * 60 + "\n"] * count)
    registry = MetricsRegistry()
    registry.register(watched)
    began = asyncio.get_running_loop().time()
    await registry.page()
    waits = (asyncio.get_running_loop().time() - began) / WAIT_S
    assert count / PIECES / PAUSES_AT_ONCE <= round(waits) <= 2 * count / PIECES / PAUSES_AT_ONCE
