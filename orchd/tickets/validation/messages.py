"""The messages of payments, as they are on the wire (payments.md, 3.2; paid-live-runner.md, 4 and 5). Pure.

Fields that no check reads (capability and constraint of a price, capabilities of a segment) are not named: they are
skipped like unknown ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from orchd.tickets.validation.wire import WireField, WireKind, WireMessage

_INT, _BYTES, _TEXT, _ONE = WireKind.INT64, WireKind.BYTES, WireKind.TEXT, WireKind.ONE


@dataclass(frozen=True, slots=True)
class ExpirationParams(WireMessage):
    """The round in which terms were made, and the hash that the RoundsManager keeps for it."""

    WIRE: ClassVar = {1: WireField("creation_round", _INT), 2: WireField("round_hash", _BYTES)}
    creation_round: int = 0
    round_hash: bytes = b""


@dataclass(frozen=True, slots=True)
class TicketParams(WireMessage):
    """Terms: what a receiver has chosen. Numbers are big-endian bytes."""

    WIRE: ClassVar = {
        1: WireField("recipient", _BYTES),
        2: WireField("face_value", _BYTES),
        3: WireField("win_prob", _BYTES),
        4: WireField("recipient_rand_hash", _BYTES),
        5: WireField("seed", _BYTES),
        6: WireField("expiration_block", _BYTES),
        7: WireField("expiration_params", _ONE, ExpirationParams),
    }
    recipient: bytes = b""
    face_value: bytes = b""
    win_prob: bytes = b""
    recipient_rand_hash: bytes = b""
    seed: bytes = b""
    expiration_block: bytes = b""
    expiration_params: ExpirationParams | None = None


@dataclass(frozen=True, slots=True)
class TicketSenderParams(WireMessage):
    """What a sender adds for each ticket."""

    WIRE: ClassVar = {1: WireField("sender_nonce", WireKind.UINT32), 2: WireField("sig", _BYTES)}
    sender_nonce: int = 0
    sig: bytes = b""


@dataclass(frozen=True, slots=True)
class QuotedPrice(WireMessage):
    """A price: wei per unit is `price_per_unit / pixels_per_unit`."""

    WIRE: ClassVar = {1: WireField("price_per_unit", _INT), 2: WireField("pixels_per_unit", _INT)}
    price_per_unit: int = 0
    pixels_per_unit: int = 0


@dataclass(frozen=True, slots=True)
class PaymentMessage(WireMessage):
    """What `Livepeer-Payment` holds."""

    WIRE: ClassVar = {
        1: WireField("ticket_params", _ONE, TicketParams),
        2: WireField("sender", _BYTES),
        3: WireField("expiration_params", _ONE, ExpirationParams),
        4: WireField("ticket_sender_params", WireKind.MANY, TicketSenderParams),
        5: WireField("expected_price", _ONE, QuotedPrice),
    }
    ticket_params: TicketParams | None = None
    sender: bytes = b""
    expiration_params: ExpirationParams | None = None
    ticket_sender_params: tuple[TicketSenderParams, ...] = ()
    expected_price: QuotedPrice | None = None


@dataclass(frozen=True, slots=True)
class AuthToken(WireMessage):
    """What a challenge gives to its payer, to be shown with each payment."""

    WIRE: ClassVar = {
        1: WireField("token", _BYTES),
        2: WireField("session_id", _TEXT),
        3: WireField("expiration", _INT),
    }
    token: bytes = field(default=b"", repr=False)
    session_id: str = ""
    expiration: int = 0


@dataclass(frozen=True, slots=True)
class SegmentMessage(WireMessage):
    """What `Livepeer-Segment` holds."""

    WIRE: ClassVar = {
        1: WireField("manifest_id", _BYTES),
        2: WireField("sequence", _INT),
        3: WireField("hash", _BYTES),
        4: WireField("profiles", _BYTES),
        5: WireField("sig", _BYTES),
        8: WireField("auth_token", _ONE, AuthToken),
    }
    manifest_id: bytes = b""
    sequence: int = 0
    hash: bytes = b""
    profiles: bytes = b""
    sig: bytes = b""
    auth_token: AuthToken | None = None


@dataclass(frozen=True, slots=True)
class OrchestratorInfo(WireMessage):
    """What the payment parameters of a challenge hold: these fields and no others."""

    WIRE: ClassVar = {
        1: WireField("transcoder", _TEXT),
        2: WireField("ticket_params", _ONE, TicketParams),
        3: WireField("price_info", _ONE, QuotedPrice),
        4: WireField("address", _BYTES),
        6: WireField("auth_token", _ONE, AuthToken),
    }
    transcoder: str = ""
    ticket_params: TicketParams | None = None
    price_info: QuotedPrice | None = None
    address: bytes = b""
    auth_token: AuthToken | None = None
