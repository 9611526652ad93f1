"""Which price a new session gets while directories carry former ones."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.domain.ids import ModelKey
from orchd.tickets.live_runner.listed_prices import ListedPrice, ListedPrices
from orchd.tickets.payments import TicketRules
from orchd.tickets.prices import WorkPrice
from tests.doubles.signer.rules import GO_LIVEPEER, LIVEPEER_NODE, Rules
from tests.tickets.live_runner.paying_client import PayingClient, highest_paid, terms_at

KEY = ModelKey("image", "org/one")
HOUR_S = 3600.0


class Book:
    """Prices of one model over time."""

    def __init__(self, honour_s: float = 1800) -> None:
        self.prices = ListedPrices(honour_s)
        self.now = 100.0

    def list(self, wei: int, *, fixed: bool = False) -> None:
        self.listed = WorkPrice(wei, fixed)
        self.prices.list_only({KEY: self.listed}, self.now)

    @property
    def new(self) -> int:
        """What a new session costs."""
        return self.prices.honoured(KEY, self.listed, self.now).wei


def test_after_a_raise_the_former_price_is_honoured_until_no_directory_carries_it() -> None:
    book = Book()
    book.list(1000)
    book.now += HOUR_S
    book.list(2000)
    assert book.new == 1000
    book.now += 1799
    assert book.new == 1000
    book.now += 1
    assert book.new == 2000


def test_a_raise_that_clients_pay_holds_at_once() -> None:
    book = Book()
    book.list(1000)
    book.list(1011)
    assert book.new == 1011


def test_a_raise_by_the_very_most_that_clients_pay_is_not_relied_on() -> None:
    book = Book()
    book.list(250)
    book.list(253)
    assert book.new == 250, "with floats it may be more than 1.2 %"


def test_lowering_holds_at_once() -> None:
    book = Book()
    book.list(1000)
    book.list(900)
    assert book.new == 900


def test_small_raises_one_after_another_are_one_large_raise() -> None:
    book = Book()
    seen = []
    for wei in (1000, 1010, 1020, 1030, 1040):
        book.list(wei)
        seen.append(book.new)
        book.now += 600
    assert seen == [1000, 1010, 1010, 1010, 1020], "1000 is carried for the first 2400 s"


def test_a_price_that_falls_and_rises_again_is_not_kept_down_for_good() -> None:
    book = Book()
    for wei in (1000, 500, 1000, 500, 1000):
        book.list(wei)
        book.now += 60
    book.now += 1800
    assert book.new == 1000


def test_who_was_free_pays_at_once_since_no_directory_says_a_price() -> None:
    book = Book()
    book.list(0)
    book.list(5000)
    assert book.new == 5000


def test_prices_per_second_and_per_session_are_not_compared() -> None:
    book = Book()
    book.list(1000)
    book.list(9000, fixed=True)
    assert book.new == 9000


def test_a_model_that_is_not_listed_any_more_is_carried_for_a_while() -> None:
    book = Book()
    book.list(1000)
    book.prices.list_only({}, book.now)
    book.listed = WorkPrice(2000)
    assert book.new == 1000
    book.now += 1800
    assert book.new == 2000


def test_a_raise_that_is_seen_before_the_next_listing_is_honoured_no_longer_than_one_after_it() -> None:
    book = Book()
    book.list(1000)
    book.listed = WorkPrice(2000)
    assert book.prices.replace(KEY, book.listed, book.now)
    assert not book.prices.replace(KEY, book.listed, book.now)
    book.now += 1800
    assert book.new == 2000


def test_what_was_never_listed_costs_what_it_costs() -> None:
    book = Book()
    assert not book.prices.replace(KEY, WorkPrice(700), book.now)
    assert book.prices.honoured(KEY, WorkPrice(700), book.now) == WorkPrice(700)


def test_no_price_is_remembered_that_no_directory_can_carry() -> None:
    book = Book()
    for wei in (1000, 2000, 3000):
        book.list(wei)
        book.now += HOUR_S
    assert list(book.prices.all(book.now)) == [ListedPrice(KEY, WorkPrice(3000), None)]
    book.prices.list_only({}, book.now)
    book.now += HOUR_S
    assert list(book.prices.all(book.now)) == []


CHANGES = st.lists(st.tuples(st.integers(1, 10**12), st.integers(0, 2400)), min_size=1, max_size=8)


@given(CHANGES)
def test_clients_of_all_directories_pay_a_new_session(changes: list[tuple[int, int]]) -> None:
    book, listings = Book(), list[tuple[int, float]]()
    for wei, wait_s in changes:
        book.list(wei)
        listings.append((wei, book.now))
        assert book.new <= wei
        carried = [wei]
        for (before, _), (_, until) in pairwise(listings):
            if book.now - until < 1800:
                carried.append(before)
        assert all(book.new <= highest_paid(listed) for listed in carried)
        assert book.new in carried
        book.now += wait_s
    book.now += 1800
    assert book.new == changes[-1][0]


@pytest.mark.parametrize("signer", [GO_LIVEPEER, LIVEPEER_NODE], ids=["go-livepeer", "node"])
@pytest.mark.parametrize("raised", [83_333_333_334, 84_333_333_334, 84_333_333_335, 10**12])
def test_a_signer_pays_for_who_has_read_the_former_price(signer: Rules, raised: int) -> None:
    book = Book()
    book.list(83_333_333_334)
    book.list(raised)
    price = WorkPrice(book.new)
    client = PayingClient(signer, price, terms_at(price, TicketRules()), listed=83_333_333_334)
    assert client.pay() == 5
