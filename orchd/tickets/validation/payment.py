"""The header `Livepeer-Payment`: from its bytes to values, every length checked (payments.md, 3). Pure."""

from __future__ import annotations

import binascii
from dataclasses import dataclass

from orchd.tickets.validation.faults import Fault, PaymentRefused
from orchd.tickets.validation.messages import (
    ExpirationParams,
    PaymentMessage,
    QuotedPrice,
    TicketParams,
    TicketSenderParams,
)
from orchd.tickets.validation.signatures import ZERO_HASH
from orchd.tickets.validation.tickets import TicketTerms
from orchd.tickets.validation.wire import M, WireError, decode

MAX_HEADER = 128 * 1024
"""Most characters of a payment's header; 600 tickets have 57,764."""


@dataclass(frozen=True, slots=True)
class Payment:
    """A payment as somebody has sent it: lengths are right, and nothing else is known of it.

    Attributes:
        sender: 20 bytes, or empty = it names none.
        terms: None = it has none: the sender believes that the work is free.
        tickets: one element for each ticket.
        price: what the sender believes to pay; None = it does not say.
    """

    sender: bytes = b""
    terms: TicketTerms | None = None
    tickets: tuple[TicketSenderParams, ...] = ()
    price: QuotedPrice | None = None


def read_payment(header: bytes) -> Payment:
    """Return what the header's value says. An empty one, or none, is an empty payment.

    Raises:
        PaymentRefused: it can't be read.
    """
    data = from_base64(header, Fault.PAYMENT_BASE64, "the payment")
    sent = from_protobuf(PaymentMessage, data, Fault.PAYMENT_PROTOBUF, "the payment")
    if sent.sender:
        _exactly(sent.sender, 20, Fault.SENDER_LENGTH, "sender")
    terms = None if sent.ticket_params is None else read_terms(sent.ticket_params, sent.expiration_params)
    return Payment(sent.sender, terms, sent.ticket_sender_params, sent.expected_price)


def read_terms(sent: TicketParams, beside: ExpirationParams | None) -> TicketTerms:
    """Return the terms of a payment.

    Args:
        beside: the expiration of the payment's own field 3. Signers fill it, or field 7 of the terms, or both: either
            is taken, and both must agree.

    Raises:
        PaymentRefused.
    """
    _exactly(sent.recipient, 20, Fault.RECIPIENT_LENGTH, "recipient")
    numbers = [
        _number(value, fault, name)
        for value, fault, name in (
            (sent.face_value, Fault.FACE_VALUE_LENGTH, "face_value"),
            (sent.win_prob, Fault.WIN_PROB_LENGTH, "win_prob"),
            (sent.seed, Fault.SEED_LENGTH, "seed"),
            (sent.expiration_block, Fault.EXPIRATION_LENGTH, "expiration_block"),
        )
    ]
    face_value, win_prob, seed, expiration_block = numbers
    commitment = _hash(sent.recipient_rand_hash, Fault.COMMITMENT_LENGTH, "recipient_rand_hash")
    creation_round, round_hash = _expiration(sent.expiration_params, beside)
    return TicketTerms(
        sent.recipient, face_value, win_prob, commitment, seed, expiration_block, creation_round, round_hash
    )


def _expiration(inside: ExpirationParams | None, beside: ExpirationParams | None) -> tuple[int, bytes]:
    found = {_round(each) for each in (inside, beside) if each is not None}
    if not found:
        raise PaymentRefused(
            Fault.EXPIRATION_MISSING,
            "cannot take the payment: it has no expiration_params, so its tickets never expire",
        )
    if len(found) > 1:
        raise PaymentRefused(
            Fault.EXPIRATION_DIFFERS, "cannot take the payment: its two expiration_params name different rounds"
        )
    return found.pop()


def _round(sent: ExpirationParams) -> tuple[int, bytes]:
    if sent.creation_round < 0:
        raise PaymentRefused(
            Fault.ROUND_NEGATIVE, f"cannot take the payment: its creation_round is {sent.creation_round}"
        )
    return sent.creation_round, _hash(sent.round_hash, Fault.ROUND_HASH_LENGTH, "creation_round_block_hash")


def _exactly(value: bytes, length: int, fault: Fault, name: str) -> None:
    if len(value) != length:
        raise PaymentRefused(fault, f"cannot take the payment: its {name} has {len(value)} bytes, not {length}")


def _number(value: bytes, fault: Fault, name: str) -> int:
    if len(value) > 32:
        raise PaymentRefused(fault, f"cannot take the payment: its {name} has {len(value)} bytes; at most 32 can be")
    return int.from_bytes(value, "big")


def _hash(value: bytes, fault: Fault, name: str) -> bytes:
    if not value:
        return ZERO_HASH
    _exactly(value, 32, fault, name)
    return value


def from_base64(header: bytes, fault: Fault, what: str) -> bytes:
    """Return what a header holds in base64: the standard alphabet, padded, nothing between.

    Raises:
        PaymentRefused: with this fault, or because it is too long.
    """
    if len(header) > MAX_HEADER:
        raise PaymentRefused(
            Fault.HEADER_LENGTH, f"cannot read {what}: it has {len(header)} characters; at most {MAX_HEADER} are read"
        )
    try:
        return binascii.a2b_base64(header, strict_mode=True)
    except binascii.Error as exc:
        raise PaymentRefused(fault, f"cannot read {what}: it is not padded base64 of the standard alphabet") from exc


def from_protobuf(message: type[M], data: bytes, fault: Fault, what: str) -> M:
    """Return the message in these bytes.

    Raises:
        PaymentRefused: with this fault.
    """
    try:
        return decode(message, data)
    except WireError as exc:
        raise PaymentRefused(fault, f"cannot read {what}: it is no protocol buffer of its kind: {exc}") from exc
