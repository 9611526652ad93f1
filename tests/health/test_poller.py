"""One task per runner, under a clock that the tests move."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Collection
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from orchd.domain.events import HealthChanged
from orchd.domain.ids import Address, ModelKey, RunnerId
from orchd.domain.model import (
    ExternalLaunch,
    HealthSpec,
    InferenceSpec,
    MetricsSpec,
    Model,
    ProcessLaunch,
    StopSpec,
    StreamSpec,
)
from orchd.domain.ports import ProbeResult, ProbeWord, Verdict
from orchd.health.poller import GAP_S, LOADING_PERIOD_S, RETELL_S, Poller, RunnerFacts
from tests.virtual_time import settle, virtual_time

KEY = ModelKey("text-to-image", "org/model")
RUNNER = RunnerId(KEY, 0, "0123456789ab")
ADDRESS = Address("127.0.0.1", 8000)
MODEL = Model(
    key=KEY,
    launch=ProcessLaunch(("serve",), "/"),
    profile="byoc",
    health=HealthSpec(interval_s=5.0, failures=2),
    stream=StreamSpec(),
    inference=InferenceSpec("/text-to-image", timeout_s=60.0),
    metrics=MetricsSpec(),
    stop=StopSpec(),
    start_timeout_s=20.0,
)


class FakeProber:
    """Answers with `word`, after `takes_s`; remembers when it was asked and how."""

    def __init__(self, word: ProbeWord) -> None:
        self.word = word
        self.takes_s = 0.0
        self.asked: list[tuple[float, HealthSpec, bool]] = []
        self.under_way = 0

    async def probe(
        self, address: Address, health: HealthSpec, *, early: bool, secrets: Collection[str] = ()
    ) -> ProbeResult:
        self.asked.append((asyncio.get_running_loop().time(), health, early))
        self.under_way += 1
        assert self.under_way == 1, "a probe overlaps the one before"
        try:
            await asyncio.sleep(self.takes_s)
        finally:
            self.under_way -= 1
        return ProbeResult(self.word, f"evidence of {self.word}", self.takes_s)

    async def close_streams(self, address: Address, stream: StreamSpec, timeout_s: float) -> str:
        raise AssertionError("the poller closes no streams")

    @property
    def times(self) -> list[float]:
        return [at for at, _, _ in self.asked]


class Bench:
    """A poller with everything around it."""

    def __init__(self, word: ProbeWord = ProbeWord.READY) -> None:
        self.prober = FakeProber(word)
        self.events: list[HealthChanged] = []
        self.probed: list[tuple[ModelKey, str, float]] = []
        self.progress: float | None = None
        self.letting_go = False
        self.poller = Poller(
            self.prober,
            RunnerFacts(progress_at=lambda runner: self.progress, letting_go=lambda runner: self.letting_go),
            report=self.events.append,
            on_probe=lambda *probe: self.probed.append(probe),
        )

    def watch(self, model: Model = MODEL) -> None:
        self.poller.watch(RUNNER, model, ADDRESS, since=asyncio.get_running_loop().time())

    async def says(self, word: ProbeWord, for_s: float) -> list[Verdict]:
        """Let it say `word` for so long; return the verdicts reported meanwhile."""
        self.prober.word = word
        known = len(self.events)
        await asyncio.sleep(for_s)
        return [event.verdict for event in self.events[known:] if not event.doubt]

    async def doubts(self, word: ProbeWord, for_s: float) -> list[str]:
        """Let it say `word` for so long; return what was said of one that is ready meanwhile, times as `T`."""
        self.prober.word = word
        known = len(self.events)
        await asyncio.sleep(for_s)
        said = [event.doubt for event in self.events[known:] if event.verdict is Verdict.READY]
        return [re.sub(r"\d\d:\d\d:\d\d UTC", "T", doubt) for doubt in said]


def gaps(times: list[float]) -> list[float]:
    return [after - before for before, after in itertools.pairwise(times)]


@virtual_time
async def test_the_first_probe_is_at_once_and_its_verdict_is_reported() -> None:
    bench = Bench(ProbeWord.LOADING)
    bench.watch()
    await settle()
    assert bench.events == [HealthChanged(RUNNER, Verdict.LOADING, ProbeWord.LOADING, "evidence of loading")]
    assert bench.probed == [(KEY, "loading", 0.0)]
    await bench.poller.close()


@virtual_time
async def test_the_period_is_jittered_and_a_verdict_is_reported_once() -> None:
    bench = Bench()
    bench.watch()
    await asyncio.sleep(500)
    between = gaps(bench.prober.times)
    assert all(4.5 <= gap <= 5.5 for gap in between)
    assert len(set(between)) > len(between) / 2
    assert [event.verdict for event in bench.events] == [Verdict.READY]
    await bench.poller.close()


@virtual_time
async def test_a_loading_runner_is_asked_more_often() -> None:
    bench = Bench(ProbeWord.LOADING)
    bench.watch()
    await asyncio.sleep(100)
    assert all(gap <= LOADING_PERIOD_S * 1.1 for gap in gaps(bench.prober.times))
    await bench.poller.close()


@pytest.mark.parametrize("early", [True, False])
def test_while_it_is_not_ready_the_newest_reason_is_reported(early: bool) -> None:
    """Most servers refuse connections at first, then answer with some code until they have loaded."""

    @virtual_time
    async def check() -> None:
        bench = Bench()
        bench.watch(replace(MODEL, start_timeout_s=600.0 if early else 0.001))
        said = Verdict.LOADING if early else Verdict.FAILED
        await bench.says(ProbeWord.UNREACHABLE, 0.5 if early else 15)
        for word in (ProbeWord.FAILED, ProbeWord.TIMEOUT, ProbeWord.UNREACHABLE):
            assert await bench.says(word, RETELL_S + 6) == [said]
            assert bench.events[-1].evidence == f"evidence of {word}"
        await bench.says(ProbeWord.READY, 11)
        assert await bench.says(ProbeWord.FAILED, 3) == [], "one failure is none yet"
        await bench.poller.close()

    check()


@virtual_time
async def test_a_reason_that_changes_with_each_probe_is_reported_rarely() -> None:
    bench = Bench(ProbeWord.LOADING)
    counted = itertools.count()
    bench.prober.probe = lambda *_, **__: asyncio.sleep(0, ProbeResult(ProbeWord.LOADING, f"{next(counted)} %", 0.0))  # type: ignore[method-assign]
    bench.watch()
    await asyncio.sleep(RETELL_S * 10)
    assert 8 <= len(bench.events) <= 11 < next(counted)
    await bench.poller.close()


@virtual_time
async def test_silence_is_loading_until_the_start_window_is_over() -> None:
    bench = Bench()
    bench.watch()
    assert await bench.says(ProbeWord.UNREACHABLE, 19.9) == [Verdict.LOADING]
    assert await bench.says(ProbeWord.UNREACHABLE, 5) == [Verdict.FAILED]
    assert {early for at, _, early in bench.prober.asked if at < 20} == {True}
    assert {early for at, _, early in bench.prober.asked if at >= 20} == {False}
    await bench.poller.close()


@virtual_time
async def test_the_start_window_is_longer_by_the_time_in_which_orchd_stood_still() -> None:
    bench = Bench()
    bench.poller = Poller(
        bench.prober,
        RunnerFacts(progress_at=lambda runner: None, lost_s=lambda since: 100.0),
        report=bench.events.append,
        on_probe=lambda *probe: None,
    )
    bench.watch()
    assert await bench.says(ProbeWord.UNREACHABLE, 119.9) == [Verdict.LOADING]
    assert await bench.says(ProbeWord.UNREACHABLE, 5) == [Verdict.FAILED]
    await bench.poller.close()


@virtual_time
async def test_the_start_window_is_over_once_it_was_ready() -> None:
    """A runner that dies in its first seconds is not taken for one that still starts."""
    bench = Bench()
    bench.watch()
    assert await bench.says(ProbeWord.READY, 1) == [Verdict.READY]
    assert await bench.says(ProbeWord.UNREACHABLE, 11) == [Verdict.FAILED]
    await bench.poller.close()


@virtual_time
async def test_an_external_runner_has_no_start_window() -> None:
    bench = Bench()
    bench.watch(replace(MODEL, launch=ExternalLaunch(ADDRESS)))
    assert await bench.says(ProbeWord.UNREACHABLE, 6) == [Verdict.FAILED]
    await bench.poller.close()


@virtual_time
async def test_a_hurried_probe_comes_soon() -> None:
    bench = Bench()
    bench.watch()
    await asyncio.sleep(1)
    bench.poller.hurry(RUNNER)
    await settle()
    assert bench.prober.times == [0.0, 1.0]
    await bench.poller.close()


@virtual_time
async def test_a_probe_hurried_while_one_is_under_way_follows_it() -> None:
    bench = Bench()
    bench.prober.takes_s = 2.0
    bench.watch()
    await asyncio.sleep(1)
    bench.poller.hurry(RUNNER)
    await asyncio.sleep(2)
    assert bench.prober.times == pytest.approx([0.0, 2.0 + GAP_S])
    await bench.poller.close()


@virtual_time
async def test_a_flood_of_failed_jobs_is_no_flood_of_probes() -> None:
    bench = Bench()
    bench.watch()
    for _ in range(1000):
        bench.poller.hurry(RUNNER)
        await asyncio.sleep(0.001)
    assert len(bench.prober.times) <= 1 + 1 / GAP_S
    await bench.poller.close()


@virtual_time
async def test_a_slow_probe_never_overlaps_itself() -> None:
    bench = Bench()
    bench.prober.takes_s = 30.0
    bench.watch()
    for _ in range(100):
        bench.poller.hurry(RUNNER)
        await asyncio.sleep(1)
    assert len(bench.prober.asked) == 4  # FakeProber itself asserts that they do not overlap.
    await bench.poller.close()


@virtual_time
async def test_timeouts_do_not_count_while_jobs_make_progress() -> None:
    bench = Bench()
    bench.watch()
    assert await bench.says(ProbeWord.READY, 1) == [Verdict.READY]
    bench.progress = asyncio.get_running_loop().time()
    assert await bench.says(ProbeWord.TIMEOUT, 59) == []
    assert await bench.says(ProbeWord.TIMEOUT, 12) == [Verdict.FAILED]
    await bench.poller.close()


@virtual_time
async def test_timeouts_count_despite_progress_where_the_entry_says_so() -> None:
    bench = Bench()
    bench.watch(replace(MODEL, health=replace(MODEL.health, tolerate_timeout_while_busy=False)))
    assert await bench.says(ProbeWord.READY, 1) == [Verdict.READY]
    bench.progress = asyncio.get_running_loop().time()
    assert await bench.says(ProbeWord.TIMEOUT, 11) == [Verdict.FAILED]
    await bench.poller.close()


@virtual_time
async def test_new_knobs_apply_at_once_and_keep_the_verdict() -> None:
    bench = Bench()
    bench.watch()
    await asyncio.sleep(1)
    edited = replace(MODEL, health=replace(MODEL.health, interval_s=50.0, path="/other"))
    bench.poller.update(RUNNER, edited)
    await asyncio.sleep(100)
    assert [health.path for _, health, _ in bench.prober.asked[:2]] == ["/health", "/other"]
    assert min(gaps(bench.prober.times[1:])) >= 45
    assert len(bench.events) == 1
    await bench.poller.close()


@virtual_time
async def test_a_forgotten_runner_is_neither_asked_nor_reported() -> None:
    bench = Bench()
    bench.prober.takes_s = 1.0
    bench.watch()
    await settle()
    bench.poller.unwatch(RUNNER)
    bench.poller.hurry(RUNNER)
    bench.poller.update(RUNNER, MODEL)
    bench.poller.unwatch(RUNNER)
    await asyncio.sleep(60)
    assert len(bench.prober.asked) == 1
    assert bench.events == []
    assert bench.poller.last(RUNNER) is None


@virtual_time
async def test_one_may_be_forgotten_from_within_its_report() -> None:
    bench = Bench()
    poller = Poller(
        bench.prober,
        RunnerFacts(progress_at=lambda runner: None),
        report=lambda event: poller.unwatch(event.runner),
        on_probe=lambda *probe: None,
    )
    poller.watch(RUNNER, MODEL, ADDRESS, since=0.0)
    await asyncio.sleep(60)
    assert len(bench.prober.asked) == 1


@virtual_time
async def test_watching_again_begins_anew() -> None:
    bench = Bench()
    bench.watch()
    await asyncio.sleep(1)
    bench.watch()
    await asyncio.sleep(1)
    assert [event.verdict for event in bench.events] == [Verdict.READY, Verdict.READY]
    await bench.poller.close()


@virtual_time
async def test_an_unreadable_word_is_logged_once_and_the_newest_probe_can_be_read() -> None:
    bench = Bench()
    bench.watch()
    with capture_logs() as logs:
        await bench.says(ProbeWord.READY, 1)
        assert await bench.says(ProbeWord.UNKNOWN, 30) == []
    assert [entry["event"] for entry in logs] == ["health_unknown"]
    assert logs[0]["evidence"] == "evidence of unknown"
    last = bench.poller.last(RUNNER)
    assert last is not None
    assert last.word is ProbeWord.UNKNOWN
    await bench.poller.close()


@virtual_time
async def test_void_probes_count_for_nothing_are_told_once_and_the_next_comes_soon() -> None:
    heard: list[ProbeWord] = []
    bench = Bench()
    bench.poller = Poller(
        bench.prober,
        RunnerFacts(progress_at=lambda runner: None),
        report=bench.events.append,
        on_probe=lambda *probe: bench.probed.append(probe),
        heard=lambda runner, model, word, asked_at: heard.append(word),
    )
    bench.watch(replace(MODEL, health=replace(MODEL.health, interval_s=60.0)))
    with capture_logs() as logs:
        assert await bench.says(ProbeWord.VOID, 10) == [], "not even that it loads"
        assert bench.poller.last(RUNNER) is None
        assert await bench.says(ProbeWord.READY, 2) == [Verdict.READY]
        bench.poller.hurry(RUNNER)
        assert await bench.says(ProbeWord.VOID, 600) == []
        assert await bench.says(ProbeWord.UNREACHABLE, 2) == [], "the first failure"
        bench.poller.hurry(RUNNER)
        assert await bench.says(ProbeWord.VOID, 2) == []
        assert await bench.says(ProbeWord.UNREACHABLE, 60) == [Verdict.FAILED], "void ones between break no row"
    assert [entry["event"] for entry in logs] == ["probe_void"] * 3
    assert set(heard) == {ProbeWord.READY, ProbeWord.UNREACHABLE}
    voids = [at for at, (_, word, _) in zip(bench.prober.times, bench.probed, strict=True) if word == "void"]
    assert len([gap for gap in gaps(voids) if gap <= LOADING_PERIOD_S * 1.1]) >= 500
    await bench.poller.close()


@virtual_time
async def test_why_one_can_not_be_reached_is_looked_for_rarely_and_told_once() -> None:
    bench = Bench()
    looks: list[float] = []
    hints = ["it listens elsewhere"]

    async def look_closer(runner: RunnerId) -> str:
        looks.append(asyncio.get_running_loop().time())
        return hints[-1]

    bench.poller = Poller(
        bench.prober,
        RunnerFacts(progress_at=lambda runner: None, look_closer=look_closer),
        report=bench.events.append,
        on_probe=lambda *probe: None,
    )
    bench.watch()
    assert await bench.says(ProbeWord.UNREACHABLE, 1.5) == [Verdict.LOADING]
    assert looks == [], "many open their port a moment after their start"
    assert await bench.says(ProbeWord.UNREACHABLE, 17) == [Verdict.LOADING]
    assert bench.events[-1].evidence == "evidence of unreachable; it listens elsewhere"
    assert 3 <= len(looks) <= 4
    hints.append("it listens on loopback")
    assert (await bench.says(ProbeWord.UNREACHABLE, 12))[-1] is Verdict.FAILED
    assert bench.events[-1].evidence.endswith("it listens on loopback")
    known = len(looks)
    assert await bench.says(ProbeWord.READY, 60) == [Verdict.READY]
    assert await bench.says(ProbeWord.TIMEOUT, 60) == [Verdict.FAILED]
    assert len(looks) == known, "only where it can't be reached"
    await bench.poller.close()


@virtual_time
async def test_what_each_probe_said_is_told_with_the_time_at_which_it_began() -> None:
    heard: list[tuple[RunnerId, Model, ProbeWord, float]] = []
    verdicts: list[int] = []
    prober = FakeProber(ProbeWord.LOADING)
    prober.takes_s = 0.5
    poller = Poller(
        prober,
        RunnerFacts(progress_at=lambda runner: None),
        report=lambda event: verdicts.append(len(heard)),
        on_probe=lambda *probe: None,
        heard=lambda *said: heard.append(said),
    )
    poller.watch(RUNNER, MODEL, ADDRESS, since=0.0)
    await asyncio.sleep(1)
    words = [ProbeWord.BUSY, ProbeWord.READY, ProbeWord.TIMEOUT, ProbeWord.UNKNOWN]
    for word in words:
        prober.word = word
        await asyncio.sleep(12)
    assert verdicts[:2] == [1, len([word for *_, word, _ in heard if word is ProbeWord.LOADING]) + 1], "heard first"
    assert [asked_at for *_, asked_at in heard] == prober.times[: len(heard)]
    assert {(runner, model) for runner, model, *_ in heard} == {(RUNNER, MODEL)}
    assert list(dict.fromkeys(word for *_, word, _ in heard)) == [ProbeWord.LOADING, *words]
    told = len(heard)
    poller.unwatch(RUNNER)
    await asyncio.sleep(30)
    assert len(heard) == told


@virtual_time
async def test_failures_of_a_runner_that_lets_go_do_not_count_until_that_is_over() -> None:
    bench = Bench()
    bench.watch()
    await settle()
    bench.letting_go = True
    for word in (ProbeWord.TIMEOUT, ProbeWord.FAILED, ProbeWord.UNREACHABLE):
        assert await bench.says(word, 100) == []
    bench.letting_go = False
    assert await bench.says(ProbeWord.TIMEOUT, 20) == [Verdict.FAILED]
    await bench.poller.close()


@pytest.mark.parametrize("before", [True, False])
def test_a_probe_during_part_of_which_the_runner_let_go_does_not_count(before: bool) -> None:
    @virtual_time
    async def run() -> None:
        model = replace(MODEL, health=replace(MODEL.health, failures=1))
        bench = Bench()
        bench.watch(model)
        await settle()
        bench.prober.word, bench.prober.takes_s = ProbeWord.TIMEOUT, 2.0
        bench.letting_go = before
        bench.poller.hurry(RUNNER)
        await asyncio.sleep(2 * GAP_S)
        assert bench.prober.under_way == 1
        bench.letting_go = not before
        await asyncio.sleep(2.0)
        assert {event.verdict for event in bench.events} == {Verdict.READY}
        await bench.poller.close()

    run()


@virtual_time
async def test_probes_that_are_tolerated_are_told_once_and_so_is_their_end() -> None:
    bench = Bench()
    bench.watch()
    await settle()
    bench.progress = asyncio.get_running_loop().time()
    still = "its probes get no answer since T; tolerated, since a job runs, of which no byte has moved since then"
    assert await bench.doubts(ProbeWord.TIMEOUT, 4) == [], "one alone is often late"
    assert await bench.doubts(ProbeWord.TIMEOUT, 40) == [still]
    bench.progress = asyncio.get_running_loop().time()
    moves = "its probes get no answer since T; tolerated, since a job runs, whose bytes still move"
    assert await bench.doubts(ProbeWord.TIMEOUT, 40) == [moves]
    assert await bench.doubts(ProbeWord.READY, 40) == [""]
    assert await bench.doubts(ProbeWord.READY, 40) == []
    bench.progress, bench.letting_go = None, True
    assert await bench.doubts(ProbeWord.FAILED, 40) == [
        "its probes fail since T; tolerated, since it may still be at work for a caller who has left"
    ]
    bench.letting_go = False
    assert await bench.doubts(ProbeWord.TIMEOUT, 20) == ["its probes get no answer since T"], "it counts now"
    assert (bench.events[-1].verdict, bench.events[-1].doubt) == (Verdict.FAILED, "")
    await bench.poller.close()
