"""From a row of probes to few verdicts."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.catalog.profiles import PROFILES, Profile
from orchd.domain.model import HealthSpec
from orchd.domain.ports import ProbeWord as W
from orchd.domain.ports import Verdict
from orchd.health.reading import classify
from orchd.health.verdict import FAILURES, Streak, judge

Probe = tuple[W, bool, bool]
probes = st.lists(st.tuples(st.sampled_from(W), st.booleans(), st.booleans()), max_size=40)
specs = st.builds(HealthSpec, failures=st.integers(1, 4), successes=st.integers(1, 4))


def after(
    words: Iterable[W], health: HealthSpec, *, early: bool = False, tolerated: bool = False
) -> list[Verdict | None]:
    """The verdict after each of `words`."""
    streak, verdicts = Streak(), []
    for word in words:
        streak = judge(streak, word, health, early=early, tolerated=tolerated)
        verdicts.append(streak.verdict)
    return verdicts


@pytest.mark.parametrize("word", [W.READY, W.BUSY])
def test_one_good_answer_makes_ready_by_default(word: W) -> None:
    assert after([word], HealthSpec()) == [Verdict.READY]


def test_good_answers_count_only_in_a_row() -> None:
    words = [W.READY, W.FAILED, W.READY, W.READY, W.READY]
    assert after(words, HealthSpec(successes=3)) == [None, None, None, None, Verdict.READY]


@pytest.mark.parametrize("word", [W.FAILED, W.UNREACHABLE, W.TIMEOUT])
def test_failures_count_only_in_a_row(word: W) -> None:
    words = [W.READY, word, W.READY, word, word, word]
    assert after(words, HealthSpec(failures=2)) == [
        Verdict.READY,
        Verdict.READY,
        Verdict.READY,
        Verdict.READY,
        Verdict.FAILED,
        Verdict.FAILED,
    ]


@pytest.mark.parametrize("word", sorted(FAILURES))
def test_no_failure_counts_while_the_runner_lets_go_and_none_is_forgotten(word: W) -> None:
    health = HealthSpec(failures=2)
    streak = judge(Streak(Verdict.READY), word, health, early=False, tolerated=False)
    for _ in range(5):
        assert judge(streak, word, health, early=False, tolerated=False, letting_go=True) == streak
    assert judge(streak, word, health, early=False, tolerated=False).verdict is Verdict.FAILED
    said = judge(streak, W.ERROR, health, early=False, tolerated=False, letting_go=True)
    assert said.verdict is Verdict.ERROR, "what it says itself counts"


@pytest.mark.parametrize("word", sorted(FAILURES))
def test_silence_and_bad_codes_are_loading_inside_the_start_window(word: W) -> None:
    assert after([word] * 5, HealthSpec(failures=1), early=True) == [Verdict.LOADING] * 5


@pytest.mark.parametrize("profile", PROFILES.values(), ids=list(PROFILES))
@given(codes=st.lists(st.integers(300, 599), min_size=1, max_size=5), body=st.binary(max_size=20))
def test_in_no_profile_a_code_is_a_failure_inside_the_start_window(
    profile: Profile, codes: list[int], body: bytes
) -> None:
    words = [
        classify(code, body, profile.health, early=True)[0] for code in codes if code not in profile.health.ok_codes
    ]
    assert set(after(words, profile.health, early=True)) <= {Verdict.LOADING}


def test_what_the_runner_says_itself_holds_at_once() -> None:
    words = [W.READY, W.LOADING, W.READY, W.ERROR, W.READY]
    assert after(words, HealthSpec()) == [Verdict.READY, Verdict.LOADING, Verdict.READY, Verdict.ERROR, Verdict.READY]


def test_an_unreadable_answer_keeps_the_verdict_and_counts_nothing() -> None:
    words = [W.READY, W.FAILED, W.UNKNOWN, W.FAILED]
    assert after(words, HealthSpec(failures=2)) == [Verdict.READY, Verdict.READY, Verdict.READY, Verdict.FAILED]


def test_an_unreadable_first_answer_is_shown_as_loading() -> None:
    assert after([W.UNKNOWN], HealthSpec()) == [Verdict.LOADING]


def test_timeouts_of_a_busy_runner_with_progress_do_not_count() -> None:
    assert after([W.READY, *[W.TIMEOUT] * 9], HealthSpec(failures=1), tolerated=True) == [Verdict.READY] * 10
    assert after([W.READY, W.UNREACHABLE], HealthSpec(failures=1), tolerated=True)[-1] is Verdict.FAILED


@given(probes, probes, specs)
def test_what_is_void_changes_nothing_wherever_it_comes(
    before: list[Probe], after: list[Probe], health: HealthSpec
) -> None:
    """As if it had never been asked: the streak goes on as it was, for good and for bad."""
    with_void, without = Streak(), Streak()
    for word, early, tolerated in [*before, (W.VOID, False, False), *after]:
        with_void = judge(with_void, word, health, early=early, tolerated=tolerated)
        if word is not W.VOID:
            without = judge(without, word, health, early=early, tolerated=tolerated)
    assert with_void == without


@given(probes, specs)
def test_a_verdict_is_always_earned(probes: list[Probe], health: HealthSpec) -> None:
    """READY only by enough good answers in a row, FAILED only by enough failures in a row, ERROR only by its word."""
    streak = Streak()
    good = bad = 0
    for word, early, tolerated in probes:
        before, streak = streak, judge(streak, word, health, early=early, tolerated=tolerated)
        counts_nothing = word in (W.UNKNOWN, W.VOID) or (word is W.TIMEOUT and tolerated)
        fails = word in FAILURES and not early
        if not counts_nothing:
            good = good + 1 if word in (W.READY, W.BUSY) else 0
            bad = bad + 1 if fails else 0
        assert (streak.successes, streak.failures) == (good, bad)
        if counts_nothing:
            assert streak.verdict is before.verdict or (before.verdict is None and streak.verdict is Verdict.LOADING)
        elif streak.verdict is not before.verdict:
            assert {
                Verdict.READY: good >= health.successes,
                Verdict.FAILED: bad >= health.failures,
                Verdict.ERROR: word is W.ERROR,
                Verdict.LOADING: word is W.LOADING or (word in FAILURES and early),
            }[streak.verdict or Verdict.LOADING]


@given(probes, specs)
def test_enough_of_the_same_always_decide(probes: list[Probe], health: HealthSpec) -> None:
    """Whatever came before, a runner that is well for long enough is ready, and a silent one failed."""
    streak = Streak()
    for word, early, tolerated in probes:
        streak = judge(streak, word, health, early=early, tolerated=tolerated)
    well = dead = streak
    for _ in range(health.successes):
        well = judge(well, W.READY, health, early=False, tolerated=False)
    for _ in range(health.failures):
        dead = judge(dead, W.UNREACHABLE, health, early=False, tolerated=False)
    assert (well.verdict, dead.verdict) == (Verdict.READY, Verdict.FAILED)
