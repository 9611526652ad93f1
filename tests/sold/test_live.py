"""The table of sessions that live."""

from __future__ import annotations

from orchd.domain.outcomes import Outcome
from orchd.sold.live import MOST_OVER, LiveSession, LiveSessions
from tests.jobs.model import KEY, runner_of


def a_session(id: str, account: str = "") -> LiveSession:
    def end(outcome: Outcome, why: str, word: str = "") -> None:
        """It is not asked to."""

    return LiveSession(
        id=id, key=KEY, payer="", persistent=True, fixed=False, sign_at=0.0, end=end, account=account,
        runner=runner_of(KEY),
    )  # fmt: skip


def test_a_session_is_found_by_id_and_account_until_it_has_ended() -> None:
    live, session = LiveSessions(), a_session("m1", "a1")
    live.add(session)
    assert (live.find("m1"), live.of_account("a1"), live.of_account(""), len(live)) == (session, session, None, 1)
    assert live.drop(session)
    assert not live.drop(session)
    assert (live.find("m1"), live.of_account("a1"), [*live]) == (None, None, [])
    assert live.was_here("m1")
    assert not live.was_here("m2")


def test_one_that_has_ended_is_not_mistaken_for_the_next_one_of_its_id() -> None:
    live, first, second = LiveSessions(), a_session("m1", "a1"), a_session("m1", "a2")
    live.add(first)
    live.drop(first)
    live.add(second)
    assert not live.drop(first)
    assert live.find("m1") is second


def test_not_more_than_so_many_ended_ones_are_remembered() -> None:
    live = LiveSessions()
    for number in range(MOST_OVER + 1):
        session = a_session(f"m{number}")
        live.add(session)
        live.drop(session)
    assert not live.was_here("m0")
    assert live.was_here("m1")
    assert live.was_here(f"m{MOST_OVER}")
