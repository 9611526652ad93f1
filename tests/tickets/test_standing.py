"""What tickets came to, by model and payer and in all."""

from __future__ import annotations

from fractions import Fraction

from orchd.domain.ids import ModelKey
from orchd.tickets.standing import PayerStanding, TicketStanding, Winners, by_model, total
from orchd.tickets.statistics import odds_of

CHAT, PAINT = ModelKey("llm", "acme/chat"), ModelKey("text-to-image", "acme/paint")
ANN, BOB = b"a" * 20, b"b" * 20


def standing(expected: int, won: int = 0, redeemed: int = 0, expired: int = 0, owed: int = 0) -> TicketStanding:
    """Each winner is 100 wei; every tenth ticket wins."""
    odds = odds_of(Fraction(1, 10), expected // 10)
    worth = [Winners(count, 100 * count) for count in (won, redeemed, expired, owed)]
    return TicketStanding(odds, Fraction(expected), *worth)


ROWS = [
    PayerStanding(PAINT, ANN, standing(500, 4, 1, 0, 3)),
    PayerStanding(CHAT, ANN, standing(1000, 12, 9, 1, 1)),
    PayerStanding(CHAT, BOB, standing(3000, 28, 0, 0, 28)),
]


def test_who_pays_most_comes_first() -> None:
    assert [(each.model, [row.payer for row in each.payers]) for each in by_model(reversed(ROWS))] == [
        (CHAT, [BOB, ANN]),
        (PAINT, [ANN]),
    ]


def test_models_and_all_of_them_are_the_sums_of_their_payers() -> None:
    chat, paint = by_model(ROWS)
    assert chat.standing == standing(4000, 40, 9, 1, 29)
    assert total([chat, paint]) == total(ROWS) == standing(4500, 44, 10, 1, 32)


def test_of_what_is_neither_redeemed_nor_expired_nor_owed_is_only_known_that_it_was_exported() -> None:
    assert total(ROWS).exported == Winners(1, 100)


def test_the_luck_of_a_model_is_that_of_all_its_tickets() -> None:
    assert ROWS[1].standing.luck.p is not None
    chat, _ = by_model(ROWS)
    assert chat.standing.luck.p == 1.0
    assert str(standing(400).luck) == "too few to tell"
    assert total([]).luck.p is None
