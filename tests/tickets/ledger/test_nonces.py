"""Sets of nonces are sets, and come back from the store as they were."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from orchd.tickets.ledger.amounts import from_text, to_text
from orchd.tickets.ledger.nonces import nonces_of, unpack
from orchd.tickets.validation.signatures import MAX_U256

NONCES = st.frozensets(st.integers(0, 620) | st.sampled_from([0, 599, 600, (1 << 32) - 1]), max_size=40)


@given(NONCES, NONCES)
def test_they_are_sets(left: frozenset[int], right: frozenset[int]) -> None:
    one, other = nonces_of(left), nonces_of(right)
    assert [*one] == sorted(left)
    assert len(one) == len(left)
    assert {*(one | other)} == left | right
    assert {*(one & other)} == left & right
    assert {*(one - other)} == left - right
    assert all((nonce in one) == (nonce in left) for nonce in left | right | {598, 600})


@given(NONCES)
def test_they_come_back_as_they_were(nonces: frozenset[int]) -> None:
    packed = nonces_of(nonces).pack()
    assert unpack(packed) == nonces_of(nonces)
    assert len(packed) == 75 + 4 * len([nonce for nonce in nonces if nonce >= 600])


@given(st.fractions())
def test_amounts_come_back_as_they_were(wei: Fraction) -> None:
    assert from_text(to_text(wei)) == wei


@given(
    st.lists(st.tuples(st.integers(1, MAX_U256), st.integers(0, 10**20)), min_size=1, max_size=200),
    st.lists(st.tuples(st.integers(1, 10**6), st.sampled_from([1, 3, 7])), max_size=200),
)
def test_a_balance_grows_no_longer_with_the_number_of_tickets_and_charges(
    tickets: list[tuple[int, int]], charges: list[tuple[int, int]]
) -> None:
    """Its denominator divides that of a ticket's worth, times those of the prices that were charged."""
    balance = sum((Fraction(face * probability, MAX_U256) for probability, face in tickets), Fraction())
    balance -= sum((Fraction(units, price) for units, price in charges), Fraction())
    assert (MAX_U256 * 3 * 7) % balance.denominator == 0
