"""What contracts return."""

from __future__ import annotations

from typing import Any

import pytest

from orchd.rpc.ports import RpcFault
from orchd.rpc.words import quantity_of, word, words_of


def test_words_are_unsigned_and_more_than_asked_for_is_fine() -> None:
    assert words_of("0x" + "00" * 31 + "05" + "ff" * 32 + "aa", 2) == [5, 2**256 - 1]


@pytest.mark.parametrize("result", ["0x", "", None, 12, "0xzz", "0x123", ["0x"]])
def test_what_holds_no_words_is_no_contract(result: Any) -> None:
    with pytest.raises(RpcFault, match="no such contract"):
        words_of(result, 1)


def test_too_few_words_are_refused() -> None:
    with pytest.raises(RpcFault, match="it returns 32 bytes, and not 64"):
        words_of("0x" + "00" * 32, 2)


def test_a_quantity_is_hexadecimal() -> None:
    assert quantity_of("0x1b4", "gas price") == 436


@pytest.mark.parametrize("value", [436, None, "", "0x", "436", "0x-1", "0x 1", "0x" + "f" * 65, "0x1_0"])
def test_what_is_no_quantity_is_named(value: Any) -> None:
    with pytest.raises(RpcFault, match="it gives no gas price"):
        quantity_of(value, "gas price")


def test_a_word_is_padded_on_the_left() -> None:
    assert word(1) == "0" * 63 + "1"
    assert word(b"\x11" * 20) == "0" * 24 + "11" * 20
