"""An account comes back from the store as it was."""

from __future__ import annotations

import json
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchd.domain.ids import ModelKey
from orchd.domain.money import PriceUnit
from orchd.hooks.account import Account

texts = st.text()
accounts = st.builds(
    Account,
    id=texts,
    request_id=texts,
    payer=texts,
    key=st.builds(ModelKey, texts, texts),
    capability=texts,
    price=st.none() | st.fractions(min_value=0),
    unit=st.sampled_from(PriceUnit),
    door=texts,
    kind=texts,
    began=st.floats(allow_nan=False, allow_infinity=False),
    limit=st.none() | st.integers(min_value=0),
    admitted=st.booleans(),
    notes=st.dictionaries(texts, texts, max_size=32).map(lambda notes: tuple(notes.items())),
)

ACCOUNT = Account(
    id="a1",
    request_id="r1",
    payer="0xabc",
    key=ModelKey("image", "org/one"),
    capability="image/org/one",
    price=Fraction(7, 3),
    unit=PriceUnit.SECOND,
    door="byoc",
    kind="stream",
    began=1e9,
    admitted=True,
    notes=(("nonce", "7"),),
)


@given(accounts)
def test_an_account_comes_back_from_json_as_it_was(account: Account) -> None:
    text = account.to_json()
    assert "\n" not in text
    assert Account.from_json(text) == account


def test_a_member_of_a_later_orchd_is_left_out() -> None:
    assert Account.from_json(json.dumps(json.loads(ACCOUNT.to_json()) | {"later": [1]})) == ACCOUNT


def test_a_note_is_found_by_its_name() -> None:
    assert ACCOUNT.note("nonce") == "7"
    assert ACCOUNT.note("other") is None


def test_an_account_never_changes() -> None:
    with pytest.raises(AttributeError):
        ACCOUNT.payer = "0xdef"  # type: ignore[misc]


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"id": 1},
        {"payer": None},
        {"pipeline": []},
        {"price": 1.5},
        {"price": "1/0"},
        {"price": "-1"},
        {"price": "much"},
        {"unit": "parsec"},
        {"began": None},
        {"began": True},
        {"began": "now"},
        {"notes": None},
        {"notes": {"a": 1}},
    ],
    ids=str,
)
def test_what_is_no_account_is_a_value_error(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"account|PriceUnit|Fraction"):
        Account.from_json(json.dumps(json.loads(ACCOUNT.to_json()) | change))


@pytest.mark.parametrize("text", ["", "1", "[]", "{", "[" * 100_000, '{"version": 1}', "null"], ids=lambda t: t[:20])
def test_text_that_is_no_account_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json's own words too
        Account.from_json(text)
