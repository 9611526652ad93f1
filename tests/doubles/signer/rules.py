"""Where the two signers differ: one table. Pure. Source: paid-live-runner.md 10; paid-gl-signer, paid-node-signer.

A reason that no recording shows has a text of ours; it says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto


class Why(Enum):
    """Why a signer does not sign. In braces in the texts: what the case fills in."""

    UNREADABLE = auto()
    NO_ORCHESTRATOR = auto()
    NOT_PROTOBUF = auto()
    NO_TYPE = auto()
    UNKNOWN_TYPE = auto()
    NO_PRICE = auto()
    NO_TERMS = auto()
    NO_AUTH = auto()
    INCOMPLETE = auto()
    OTHER_MANIFEST = auto()
    STATE_SIGNATURE = auto()
    STATE_ORCHESTRATOR = auto()
    STATE_MANIFEST_MISSING = auto()
    STATE_MANIFEST = auto()
    STATE_APP = auto()
    STATE_TYPE = auto()
    MAX_PRICE_CURRENCY = auto()
    MAX_PRICE_NUMBER = auto()
    MAX_PRICE_UNIT = auto()
    AUTH_ENDS = auto()
    NO_EXPIRATION_BLOCK = auto()
    WORTHLESS = auto()
    FACE_VALUE_LOW = auto()
    TICKET_TOO_DEAR = auto()
    FACE_VALUE_HIGH = auto()
    WITHDRAWING = auto()
    EXPIRED = auto()
    NONCES_SPENT = auto()
    NEGATIVE_PRICE = auto()
    ABOVE_MAX_PRICE = auto()
    ABOVE_FIRST_PRICE = auto()
    ABOVE_CEILING = auto()
    RECIPIENT_FUNDS = auto()
    TOO_LATE = auto()
    TOO_MANY_TICKETS = auto()
    BATCH_TOO_DEAR = auto()
    NOTHING_DUE = auto()


@dataclass(frozen=True, slots=True)
class Rules:
    """How one program signs.

    Attributes:
        refusals: by reason: status and text. What is not named is not refused.
        types: of payment.
        state_names: of the two members of a state.
        state_fields: members of the text in it, in order.
        id_bytes: length of a session's own id.
        address_hashed: the address is signed as its hash, not as a text.
        profiles: what stands in that field of the segment.
        echoes: terms go into a payment as they came; else as the program has read them, the round beside them, and with
            its own last round where they have none.
        first_price: a session is charged at its first price.
        discovers: it lists receivers.
    """

    refusals: Mapping[Why, tuple[int, str]]
    types: frozenset[str]
    state_names: tuple[str, str]
    state_fields: tuple[str, ...]
    id_bytes: int
    address_hashed: bool
    profiles: bytes
    echoes: bool
    first_price: bool
    discovers: bool


_STATE = (
    *("StateID", "PMSessionID", "LastUpdate", "OrchestratorAddress", "App", "AuthExpiry", "SenderNonce", "Balance"),
    *("InitialPricePerUnit", "InitialPixelsPerUnit", "Type", "SequenceNumber", "AuthID"),
)
_CHECK = "remote signer could not check whether to refresh session: "
_REFRESH = (480, "refresh session for remote signer")
_INCOMPLETE = (400, "incomplete or expired orchestrator payment params")
_POLICY = (400, "ticket parameters violate payer policy")
_SCOPE = (400, "payment state scope mismatch")
_NODE_TYPE = (400, "payment type must be live or fixed")
_NODE_MAX_PRICE = (400, "maxPrice requires a positive wei price")

GO_LIVEPEER = Rules(
    refusals={
        Why.UNREADABLE: (400, "{detail}"),
        Why.NO_ORCHESTRATOR: (400, "missing orchestrator"),
        Why.NOT_PROTOBUF: (400, "proto: cannot parse invalid wire-format data"),
        Why.NO_TYPE: (400, "missing billable unit or job type"),
        Why.UNKNOWN_TYPE: (400, "invalid job type"),
        Why.NO_PRICE: (400, "missing or zero priceInfo"),
        Why.NO_TERMS: (400, "missing ticketParams in OrchestratorInfo"),
        Why.NO_AUTH: (400, _CHECK + "missing auth token"),
        Why.STATE_SIGNATURE: (400, "invalid sig"),
        Why.STATE_ORCHESTRATOR: (400, "orchestratorAddress mismatch"),
        Why.STATE_MANIFEST_MISSING: (400, "missing manifestID"),
        Why.STATE_APP: (400, "app mismatch"),
        Why.STATE_TYPE: (400, "job type mismatch"),
        Why.MAX_PRICE_CURRENCY: (400, "maxPrice.currency must be wei"),
        Why.MAX_PRICE_NUMBER: (400, "maxPrice.price must be a positive decimal"),
        Why.MAX_PRICE_UNIT: (400, "maxPrice.unit must be {unit} for payment type {type}"),
        Why.AUTH_ENDS: _REFRESH,
        Why.NO_EXPIRATION_BLOCK: (400, _CHECK + "ticketParams expiration block is 0"),
        Why.WORTHLESS: (482, "no tickets"),
        Why.FACE_VALUE_LOW: (400, _CHECK + "ticket faceValue too low faceValue={face_value}"),
        Why.TICKET_TOO_DEAR: (400, _CHECK + "ticket EV {worth} > max ticket EV {limit}"),
        Why.FACE_VALUE_HIGH: (400, _CHECK + "ticket faceValue {face_value} > max faceValue {deposit}"),
        Why.WITHDRAWING: (400, _CHECK + "deposit and reserve are set to unlock soon"),  # Not recorded.
        Why.EXPIRED: _REFRESH,
        Why.NEGATIVE_PRICE: (
            481,
            "Orchestrator price has more than doubled, Orchestrator price: {wei}, Orchestrator initial price: {wei}",
        ),
        Why.ABOVE_MAX_PRICE: (481, "orchestrator price {price} exceeds request maxPrice ceiling {ceiling}"),
        Why.ABOVE_FIRST_PRICE: (481, "orchestrator price {price} exceeds initial session price ceiling {ceiling}"),
        Why.TOO_MANY_TICKETS: (400, "numTickets {count} exceeds maximum of 100"),
        Why.BATCH_TOO_DEAR: (500, "Internal Server Error"),
        Why.NOTHING_DUE: (482, "no tickets"),
    },
    types=frozenset(("live", "fixed", "lv2v")),
    state_names=("State", "Sig"),
    state_fields=_STATE,
    id_bytes=4,
    address_hashed=True,
    profiles=b"invalid",
    echoes=False,
    first_price=True,
    discovers=False,
)

LIVEPEER_NODE = Rules(
    refusals={
        Why.UNREADABLE: (400, "invalid payment request"),
        Why.NO_ORCHESTRATOR: _INCOMPLETE,
        Why.NOT_PROTOBUF: (400, "invalid orchestrator Protobuf"),
        Why.NO_TYPE: _NODE_TYPE,
        Why.UNKNOWN_TYPE: _NODE_TYPE,
        Why.NO_PRICE: _INCOMPLETE,
        Why.NO_TERMS: _INCOMPLETE,
        Why.NO_AUTH: _INCOMPLETE,
        Why.INCOMPLETE: _INCOMPLETE,
        Why.OTHER_MANIFEST: (400, "manifest ID does not match payment params"),
        Why.STATE_SIGNATURE: (400, "invalid state signature"),
        Why.STATE_ORCHESTRATOR: _SCOPE,
        Why.STATE_MANIFEST: _SCOPE,
        Why.STATE_APP: _SCOPE,
        Why.STATE_TYPE: _SCOPE,
        Why.MAX_PRICE_CURRENCY: _NODE_MAX_PRICE,
        Why.MAX_PRICE_NUMBER: _NODE_MAX_PRICE,
        Why.MAX_PRICE_UNIT: (400, "maxPrice unit does not match payment type"),
        Why.AUTH_ENDS: (480, "refresh expired orchestrator authentication"),
        Why.NO_EXPIRATION_BLOCK: (400, "ticketParams expiration block is 0"),
        Why.WORTHLESS: _POLICY,
        Why.FACE_VALUE_LOW: _POLICY,
        Why.TICKET_TOO_DEAR: _POLICY,
        Why.FACE_VALUE_HIGH: _POLICY,
        Why.WITHDRAWING: (400, "payer funds unavailable"),  # Not recorded.
        Why.EXPIRED: _REFRESH,
        Why.NONCES_SPENT: _REFRESH,
        Why.NEGATIVE_PRICE: _INCOMPLETE,
        Why.ABOVE_MAX_PRICE: (481, "orchestrator price exceeds maxPrice"),
        Why.ABOVE_FIRST_PRICE: (481, "orchestrator price exceeds initial session price"),  # Not recorded.
        Why.ABOVE_CEILING: (481, "orchestrator price exceeds signer USD maximum"),
        Why.RECIPIENT_FUNDS: (400, "payer funds unavailable"),
        Why.TOO_LATE: (400, "payment state is too old"),  # Not recorded.
        Why.TOO_MANY_TICKETS: (400, "invalid ticket batch"),
        Why.BATCH_TOO_DEAR: _POLICY,
        Why.NOTHING_DUE: (482, "no tickets"),  # Not recorded.
    },
    types=frozenset(("live", "fixed")),
    state_names=("state", "sig"),
    state_fields=(*_STATE[:6], "AuthPolicy", "AuthMaxPrice", *_STATE[6:], "ManifestID"),
    id_bytes=16,
    address_hashed=False,
    profiles=b"",
    echoes=True,
    first_price=False,
    discovers=True,
)
