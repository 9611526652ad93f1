"""What orchd passes on is what was meant, or nothing is passed on: a corpus of requests and answers against a recorder.

What they mean is read by `rfc9112`, which knows nothing of orchd. Each connection carries a marker behind its case, and
runners are asked by several connections at once, so whatever is framed otherwise than meant shows up under its number.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import pytest

from tests.blackbox.conftest import Server, until
from tests.wire import corpus, corpus_answers
from tests.wire.case import Case
from tests.wire.corpus_answers import AnswerCase
from tests.wire.exchange import exchange
from tests.wire.judge import Received, judge_answer, judge_request
from tests.wire.recorder import Recorder, Script

AT_ONCE = 6
SHOWN = 60

T = TypeVar("T", Case, AnswerCase)
numbers = itertools.count(1)


def disagreements(
    cases: Iterable[T], run: Callable[[T, int], Received], judge: Callable[[T, int, Received], None]
) -> list[str]:
    """Run all cases, and only then judge them: what one has smuggled may come with another."""
    numbered = [(case, next(numbers)) for case in cases]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        received = list(pool.map(lambda pair: run(*pair), numbered))
    found: list[str] = []
    for (case, number), got in zip(numbered, received, strict=True):
        try:
            judge(case, number, got)
        except AssertionError as exc:
            found.append(f"{number} {case.name}: {exc}\n    got {got.data[:160]!r}, {got.ended or 'and then nothing'}")
    return found


def report(found: list[str], recorder: Recorder) -> str:
    odd = "\n".join(f"{why}: {data[:200]!r}" for data, why in recorder.unreadable[:SHOWN])
    return f"{len(found)} disagreements:\n" + "\n".join(found[:SHOWN]) + f"\nthe runner could not read:\n{odd}"


def test_a_request_is_refused_or_the_runner_gets_what_the_caller_meant(orchd: Server, recorder: Recorder) -> None:
    cases = corpus.made()
    assert len(cases) >= 300

    def run(case: Case, number: int) -> Received:
        return exchange(orchd.port, case.stream(number), case.meant(number))

    def judge(case: Case, number: int, received: Received) -> None:
        judge_request(case.meant(number), received, recorder.seen(number), recorder.host)

    found = disagreements(cases, run, judge)
    if found or recorder.unreadable:
        pytest.fail(report(found, recorder), pytrace=False)
    until(lambda: orchd.sessions() == 0, "all slots back")


def test_a_runners_answer_is_a_502_or_the_caller_gets_what_the_runner_meant(orchd: Server, recorder: Recorder) -> None:
    cases = corpus_answers.made()
    assert len(cases) >= 300

    def run(case: AnswerCase, number: int) -> Received:
        recorder.script(number, Script(case.answer(number), close=case.closes))
        return exchange(orchd.port, case.stream(number), case.meant(number))

    def judge(case: AnswerCase, number: int, received: Received) -> None:
        asked = list(case.meant(number).messages)
        judge_answer(asked, case.answer(number), closes=case.closes, received=received, seen=recorder.seen(number))

    found = disagreements(cases, run, judge)
    if found or recorder.unreadable:
        pytest.fail(report(found, recorder), pytrace=False)
    until(lambda: orchd.sessions() == 0, "all slots back")
