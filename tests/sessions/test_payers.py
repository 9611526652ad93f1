"""Sessions are counted by payer, and a limit of a payer's is exact."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.domain.ids import ModelKey
from orchd.errors import Code, JobRefused
from orchd.hooks.counted import payer_of
from orchd.hooks.job import PayerLimits
from orchd.sessions.payers import PayerPlace, Payers

ONE, TWO = ModelKey("image", "org/one"), ModelKey("image", "org/two")


def test_a_payer_has_at_most_so_many_sessions_of_a_model() -> None:
    payers = Payers()
    payers.enter("a", ONE)
    with pytest.raises(
        JobRefused, match="this payer has 1 sessions of image/org/one, and may have 1 at once"
    ) as caught:
        payers.enter("a", ONE, PayerLimits(of_model=1))
    assert (caught.value.code, caught.value.word, caught.value.status) == (
        Code.CAPACITY_EXHAUSTED,
        "payer_limit",
        503,
    )
    payers.enter("a", TWO, PayerLimits(of_model=1))
    payers.enter("b", ONE, PayerLimits(of_model=1))


def test_a_payer_has_at_most_so_many_sessions_of_all_models() -> None:
    payers = Payers()
    payers.enter("a", ONE)
    payers.enter("a", TWO, PayerLimits(of_all=2))
    with pytest.raises(JobRefused, match="this payer has 2 sessions, and may have 2 at once"):
        payers.enter("a", TWO, PayerLimits(of_all=2))
    payers.enter("b", TWO, PayerLimits(of_all=1))


def test_a_limit_of_none_at_all_refuses() -> None:
    with pytest.raises(JobRefused):
        Payers().enter("a", ONE, PayerLimits(of_model=0))


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from((ONE, TWO)), st.integers(0, 3), st.booleans())))
def test_what_has_left_leaves_nothing_and_a_limit_is_never_passed(
    steps: list[tuple[str, ModelKey, int, bool]],
) -> None:
    payers = Payers()
    places: list[tuple[str, ModelKey, PayerPlace]] = []
    for who, key, limit, leaves in steps:
        mine = sum(of == who and on == key for of, on, _ in places)
        try:
            places.append((who, key, payers.enter(who, key, PayerLimits(of_model=limit))))
            assert mine < limit
        except JobRefused:
            assert mine >= limit
        if leaves and places:
            *_, place = places.pop(0)
            place.leave()
            place.leave()
    for *_, place in places:
        place.leave()
    assert len(payers) == 0


@pytest.mark.parametrize(
    ("payer", "peer", "who"),
    [
        ("0xabc", "10.0.0.1", "payer 0xabc"),
        ("", "10.0.0.1", "address 10.0.0.1"),
        ("", "::ffff:10.0.0.1", "address 10.0.0.1"),
        ("", "2001:db8:1:2:3:4:5:6", "address 2001:db8:1:2::/64"),
        ("", "fe80::1%eth0", "address fe80::/64"),
        ("", "", "address "),
    ],
)
def test_who_names_no_payer_counts_by_address(payer: str, peer: str, who: str) -> None:
    assert payer_of(payer, peer) == who
