"""From one probe after another to a verdict that changes seldom. Pure.

A word that the runner says itself (LOADING, ERROR) holds at once. Silence and failures count until they are
`failures` in a row, good answers until they are `successes`. What can't be read counts nothing.

Inside the start window neither silence nor a failure is held against a runner: many servers answer 503, 500, 404 or 400
while they load, and there is no code that all of them mean it by.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from orchd.domain.model import HealthSpec
from orchd.domain.ports import ProbeWord, Verdict

SILENCE = frozenset({ProbeWord.UNREACHABLE, ProbeWord.TIMEOUT})
FAILURES = SILENCE | {ProbeWord.FAILED}
"""None of them is a word of the runner's own about itself, so its time to load does not count from there."""


@dataclass(frozen=True, slots=True)
class Streak:
    """What is remembered of a runner's probes.

    Attributes:
        verdict: None until there is one.
        failures, successes: in a row; at most one of them is above 0.
        been_ready: it was ready once, so its start is over, whatever the clock says.
    """

    verdict: Verdict | None = None
    failures: int = 0
    successes: int = 0
    been_ready: bool = False


def judge(
    streak: Streak, word: ProbeWord, health: HealthSpec, *, early: bool, tolerated: bool, letting_go: bool = False
) -> Streak:
    """Return the streak after one more probe.

    Args:
        early: inside the start window, where silence and failures mean loading.
        tolerated: a timeout does not count, since the runner's jobs make progress.
        letting_go: no failure counts, since the runner may still be at work for a caller who has left.
    """
    match word:
        case ProbeWord.READY | ProbeWord.BUSY:
            successes = streak.successes + 1
            if successes >= health.successes:
                return Streak(Verdict.READY, successes=successes, been_ready=True)
            return replace(streak, failures=0, successes=successes)
        case ProbeWord.ERROR:
            return Streak(Verdict.ERROR, been_ready=streak.been_ready)
        case ProbeWord.LOADING:
            return Streak(Verdict.LOADING, been_ready=streak.been_ready)
        case ProbeWord.UNKNOWN:
            # A runner begins in the state of loading: to say so keeps that, and shows the answer nobody can read.
            return streak if streak.verdict else replace(streak, verdict=Verdict.LOADING)
        case ProbeWord.VOID:
            return streak
        case ProbeWord.TIMEOUT if tolerated:
            return streak
        case ProbeWord.FAILED | ProbeWord.UNREACHABLE | ProbeWord.TIMEOUT if letting_go:
            return streak
        case ProbeWord.FAILED | ProbeWord.UNREACHABLE | ProbeWord.TIMEOUT if early:
            return Streak(Verdict.LOADING, been_ready=streak.been_ready)
        case ProbeWord.FAILED | ProbeWord.UNREACHABLE | ProbeWord.TIMEOUT:
            failures = streak.failures + 1
            verdict = Verdict.FAILED if failures >= health.failures else streak.verdict
            return Streak(verdict, failures=failures, been_ready=streak.been_ready)
