"""Asks each runner again and again, one task for each, and reports when its verdict changes.

Loading is reported twice where a runner is silent or fails at first and then says itself that it loads: from then on
its time to load counts. While a runner is not ready, a change of the reason is reported too, though not at each probe.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any

import structlog

from orchd.domain.events import HealthChanged
from orchd.domain.ids import Address, ModelKey, RunnerId
from orchd.domain.model import Model
from orchd.domain.ports import Prober, ProbeResult, ProbeWord, Verdict
from orchd.domain.redact import scrub, secrets_of
from orchd.health.doubt import NONE_FAILED, ToleratedProbes, doubt
from orchd.health.verdict import FAILURES, SILENCE, Streak, judge
from orchd.tasks import cancel, spawn

log = structlog.get_logger("orchd.health")

LOADING_PERIOD_S = 1.0
"""A runner that loads is asked at least this often, so that it is used as soon as it is ready; one that was started
a moment ago more often still, since many open their port within the first second.
"""

GAP_S = 0.1
"""Least seconds between the end of a probe and the next one, however many failed jobs hurry it."""

HINT_AFTER_S = 2.0
"""How long after its launch a runner that can't be reached is looked at more closely: many open their port late."""

HINT_S = 5.0
"""Seconds between two such looks."""

RETELL_S = 5.0
"""Least seconds between two reports of a runner whose verdict stays and whose reason changes: some count seconds."""

JITTER = 0.1
"""By what part of itself a period is longer or shorter: runners that started together are not always asked together."""


@dataclass(slots=True, eq=False)
class _ProbedRunner:
    """What is known of one runner that is polled.

    Attributes:
        since: loop clock, when its launch began.
        voids: probes in a row that were void.
        hint: why it may be unreachable, as of `hinted_at` (loop clock); `told_hint`: as it was reported last.
        spoke: it has answered at least once, so that a hint makes no news of its own.
        told: evidence of the last report, at `told_at` (loop clock).
        doubt: what is odd about one that is ready.
        wake: ends the pause between two probes.
    """

    runner: RunnerId
    model: Model
    address: Address
    since: float
    streak: Streak = field(default_factory=Streak)
    last: ProbeResult | None = None
    voids: int = 0
    hint: str = ""
    hinted_at: float = -HINT_S
    told_hint: str = ""
    spoke: bool = False
    told: str = ""
    told_at: float = 0.0
    doubt: ToleratedProbes = NONE_FAILED
    wake: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(frozen=True, slots=True)
class RunnerFacts:
    """What the poller asks others about a runner. Times are of the loop clock, in seconds.

    Attributes:
        progress_at: when a byte of one of its sessions last moved; None without sessions.
        letting_go: whether it may still be at work for a caller who has left; while it is, no failure counts.
        lost_s: for how long orchd itself stood still since then: the start window is longer by it.
        look_closer: what may be the reason that it can't be reached; empty = nothing known.
    """

    progress_at: Callable[[RunnerId], float | None]
    letting_go: Callable[[RunnerId], bool] = lambda runner: False
    lost_s: Callable[[float], float] = lambda since: 0.0
    look_closer: Callable[[RunnerId], Awaitable[str]] | None = None


class Poller:
    """Polls the health of runners.

    Args:
        report: called at the first verdict of a runner and at each change, also of the reason why it is not ready.
        on_probe: called with the word and the seconds of each probe, for metrics.
        heard: called with the result of each probe, and when the probe began (loop clock).
    """

    def __init__(
        self,
        prober: Prober,
        facts: RunnerFacts,
        *,
        report: Callable[[HealthChanged], None],
        on_probe: Callable[[ModelKey, str, float], None],
        heard: Callable[[RunnerId, Model, ProbeWord, float], None] | None = None,
    ) -> None:
        self._prober = prober
        self._facts = facts
        self._report = report
        self._on_probe = on_probe
        self._heard = heard
        self._watched: dict[RunnerId, _ProbedRunner] = {}
        self._tasks: dict[RunnerId, asyncio.Task[Any]] = {}

    def watch(self, runner: RunnerId, model: Model, address: Address, *, since: float) -> None:
        """Begin to poll, at once. `since`: loop clock when its launch began; the start window counts from there.

        An external runner has no start window: nobody knows when it was started, so silence is a failure.
        """
        self.unwatch(runner)
        watched = self._watched[runner] = _ProbedRunner(runner, model, address, since)
        self._tasks[runner] = spawn(self._poll(watched), name=f"health {runner}")

    def update(self, runner: RunnerId, model: Model) -> None:
        """Go on by other health knobs, keeping what was seen so far."""
        if watched := self._watched.get(runner):
            watched.model = model
            watched.wake.set()

    def unwatch(self, runner: RunnerId) -> None:
        """Forget it; nothing more is reported about it."""
        if self._watched.pop(runner, None):
            self._tasks.pop(runner).cancel()

    def hurry(self, runner: RunnerId) -> None:
        """Ask now, or once more as soon as the probe under way is done: that one may have begun too early to know."""
        if watched := self._watched.get(runner):
            watched.wake.set()

    def last(self, runner: RunnerId) -> ProbeResult | None:
        """Return its newest probe, also one that changed nothing."""
        watched = self._watched.get(runner)
        return watched.last if watched else None

    async def close(self) -> None:
        tasks = tuple(self._tasks.values())
        self._watched.clear()
        self._tasks.clear()
        await cancel(*tasks)

    async def _poll(self, watched: _ProbedRunner) -> None:
        while True:
            watched.wake.clear()
            await self._probe(watched)
            period = _period(watched)
            await asyncio.sleep(min(GAP_S, period))
            # A timer that ends the pause takes a fraction of what a timeout takes, which cancels and catches.
            over = asyncio.get_running_loop().call_later(period - min(GAP_S, period), watched.wake.set)
            try:
                await watched.wake.wait()
            finally:
                over.cancel()

    async def _probe(self, watched: _ProbedRunner) -> None:
        now, model, before = asyncio.get_running_loop().time, watched.model, watched.streak
        window_s = model.start_timeout_s + self._facts.lost_s(watched.since)
        early = model.managed and not before.been_ready and now() < watched.since + window_s
        asked_at = now()
        letting_go = self._facts.letting_go(watched.runner)
        secrets = secrets_of(model)
        result = await self._prober.probe(watched.address, model.health, early=early, secrets=secrets)
        if (shown := scrub(result.evidence, secrets)) != result.evidence:
            result = replace(result, evidence=shown)
        result = await self._with_hint(watched, result)
        self._on_probe(model.key, result.word, result.duration_s)
        if result.word is ProbeWord.VOID:
            self._void(watched, result)
            return
        watched.voids = 0
        if self._heard is not None:
            self._heard(watched.runner, model, result.word, asked_at)
        last, watched.last = watched.last, result
        puzzled = last is not None and last.word is ProbeWord.UNKNOWN
        if result.word is ProbeWord.UNKNOWN and not puzzled:
            key = model.key
            log.warning("health_unknown", pipeline=key.pipeline, model_id=key.model_id, evidence=result.evidence)
        progress_at = self._facts.progress_at(watched.runner)
        tolerated = (
            model.health.tolerate_timeout_while_busy
            and progress_at is not None
            and now() - progress_at < model.inference.timeout_s
        )
        letting_go = letting_go or self._facts.letting_go(watched.runner)
        watched.streak = judge(
            before, result.word, model.health, early=early, tolerated=tolerated, letting_go=letting_go
        )
        verdict, doubted = watched.streak.verdict, watched.doubt.said
        self._doubt(watched, result.word, asked_at, progress_at if tolerated else None, letting_go=letting_go)
        spoke_up = (
            verdict is Verdict.LOADING and last is not None and last.word in FAILURES and result.word not in FAILURES
        )
        watched.spoke = watched.spoke or result.word not in SILENCE
        hinted = not watched.spoke and watched.hint not in ("", watched.told_hint)
        if verdict is not None and (
            verdict is not before.verdict
            or spoke_up
            or hinted
            or watched.doubt.said != doubted
            or self._says_other(watched, result)
        ):
            watched.told_hint = watched.hint
            watched.told, watched.told_at = result.evidence, now()
            self._report(HealthChanged(watched.runner, verdict, result.word, result.evidence, watched.doubt.said))

    @staticmethod
    def _doubt(
        watched: _ProbedRunner, word: ProbeWord, asked_at: float, progress_at: float | None, *, letting_go: bool
    ) -> None:
        """Note what is odd about a runner that is ready. `progress_at`: None = no job makes a timeout tolerable."""
        if watched.streak.verdict is not Verdict.READY or word not in FAILURES:
            watched.doubt = NONE_FAILED
            return
        why = ""
        if word is ProbeWord.TIMEOUT and progress_at is not None:
            still = progress_at < (asked_at if watched.doubt.since is None else watched.doubt.since)
            why = f"a job runs, {'of which no byte has moved since then' if still else 'whose bytes still move'}"
        elif letting_go:
            why = "it may still be at work for a caller who has left"
        ago_s = asyncio.get_running_loop().time() - asked_at
        at = time.strftime("%H:%M:%S UTC", time.gmtime(time.time() - ago_s))
        watched.doubt = doubt(watched.doubt, word, (asked_at, at), why, watched.model.health.failures)

    @staticmethod
    def _says_other(watched: _ProbedRunner, result: ProbeResult) -> bool:
        """Return whether a runner that is not ready has another reason for it now than the last one reported."""
        if watched.streak.verdict is Verdict.READY or result.word in (ProbeWord.READY, ProbeWord.BUSY):
            return False
        now = asyncio.get_running_loop().time()
        return result.evidence != watched.told and now >= watched.told_at + RETELL_S

    async def _with_hint(self, watched: _ProbedRunner, result: ProbeResult) -> ProbeResult:
        """Add why it may be unreachable: looked for rarely, and not of one that has only just been started."""
        if result.word is not ProbeWord.UNREACHABLE or not watched.model.managed or self._facts.look_closer is None:
            watched.hint = ""
            return result
        now = asyncio.get_running_loop().time()
        if now >= max(watched.since + HINT_AFTER_S, watched.hinted_at + HINT_S):
            watched.hinted_at = now
            watched.hint = await self._facts.look_closer(watched.runner)
        return replace(result, evidence=f"{result.evidence}; {watched.hint}") if watched.hint else result

    def _void(self, watched: _ProbedRunner, result: ProbeResult) -> None:
        """It counts for nothing, and the next one is to come soon."""
        watched.voids += 1
        if watched.voids == 1:
            key = watched.model.key
            log.warning("probe_void", pipeline=key.pipeline, model_id=key.model_id, reason=result.evidence)


def _period(watched: _ProbedRunner) -> float:
    """Return the seconds until the next probe."""
    period = watched.model.health.interval_s
    if watched.voids:
        period = min(period, LOADING_PERIOD_S)
    if watched.streak.verdict in (None, Verdict.LOADING):
        age_s = asyncio.get_running_loop().time() - watched.since
        period = min(period, LOADING_PERIOD_S, max(GAP_S, age_s / 4))
    return period * random.uniform(1 - JITTER, 1 + JITTER)
