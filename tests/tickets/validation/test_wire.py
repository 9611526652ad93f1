"""Protocol buffers: what is written is read again, and no bytes do more than be refused."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchd.tickets.validation.messages import (
    AuthToken,
    ExpirationParams,
    OrchestratorInfo,
    PaymentMessage,
    QuotedPrice,
    SegmentMessage,
    TicketParams,
    TicketSenderParams,
)
from orchd.tickets.validation.wire import MAX_REPEATED, WireError, WireKind, WireMessage, decode, encode

MESSAGES: tuple[type[WireMessage], ...] = (PaymentMessage, SegmentMessage, OrchestratorInfo)
VALUES: dict[WireKind, st.SearchStrategy[Any]] = {
    WireKind.INT64: st.integers(-(1 << 63), (1 << 63) - 1),
    WireKind.UINT32: st.integers(0, (1 << 32) - 1),
    WireKind.BYTES: st.binary(max_size=40),
    WireKind.TEXT: st.text(max_size=20),
}


def messages(of: type[WireMessage]) -> st.SearchStrategy[WireMessage]:
    """Return messages of a type, whatever they hold."""
    fields = {}
    for field in of.WIRE.values():
        if field.holds is None:
            fields[field.name] = VALUES[field.kind]
        elif field.kind is WireKind.ONE:
            fields[field.name] = st.none() | messages(field.holds)
        else:
            fields[field.name] = st.lists(messages(field.holds), max_size=3).map(tuple)
    return st.builds(of, **fields)


@given(st.one_of(*map(messages, MESSAGES)))
@settings(max_examples=150, deadline=None)
def test_a_message_is_read_as_it_was_written(message: WireMessage) -> None:
    data = encode(message)
    assert decode(type(message), data) == message
    assert encode(decode(type(message), data)) == data


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_a_message_or_refused(data: bytes) -> None:
    for of in MESSAGES:
        with suppress(WireError):
            decode(of, data)


@given(messages(PaymentMessage), st.data())
@settings(max_examples=100, deadline=None)
def test_a_message_with_bytes_changed_is_read_or_refused(message: WireMessage, data: st.DataObject) -> None:
    sent = bytearray(encode(message))
    for at in data.draw(st.lists(st.integers(0, max(0, len(sent) - 1)), max_size=3)) if sent else ():
        sent[at] = data.draw(st.integers(0, 255))
    with suppress(WireError):
        decode(PaymentMessage, bytes(sent))


@pytest.mark.parametrize(
    ("of", "data"),
    [
        (QuotedPrice, b"\x08"),
        (QuotedPrice, b"\x08" + b"\xff" * 10 + b"\x01"),
        (QuotedPrice, b"\x08" + b"\xff" * 9 + b"\x7f"),
        (QuotedPrice, b"\x0a\x01\x01"),
        (QuotedPrice, b"\x09" + b"\0" * 8),
        (QuotedPrice, b"\x08\x01\x08\x01"),
        (QuotedPrice, b"\x00\x01"),
        (QuotedPrice, b"\x0b\x0c"),
        (TicketSenderParams, b"\x08\x80\x80\x80\x80\x10"),
        (TicketParams, b"\x0a\x05abcd"),
        (TicketParams, b"\x08\x01"),
        (ExpirationParams, b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
        (AuthToken, b"\x12\x01\xff"),
        (PaymentMessage, b"\x0a\x02\x0a\x05"),
        (PaymentMessage, b"\x22\x00" * (MAX_REPEATED + 1)),
    ],
    ids=[
        *("no value", "number too long", "number above 64 bits", "bytes for a number", "fixed64 for a number"),
        *("twice", "field 0", "a group", "above 32 bits", "bytes cut off", "a number for bytes", "endless length"),
        *("not UTF-8", "cut off inside", "repeated too often"),
    ],
)
def test_what_is_not_such_a_message_is_refused(of: type[WireMessage], data: bytes) -> None:
    with pytest.raises(WireError):
        decode(of, data)


def test_a_negative_number_takes_ten_bytes_and_comes_back() -> None:
    data = encode(QuotedPrice(-1, 1))
    assert data == b"\x08" + b"\xff" * 9 + b"\x01\x10\x01"
    assert decode(QuotedPrice, data) == QuotedPrice(-1, 1)


def test_no_secret_of_a_token_is_shown() -> None:
    assert "token=b" not in repr(AuthToken(b"hidden", "a", 1))
