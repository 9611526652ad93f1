"""Terms, payments and credentials of our own making, all in order."""

from __future__ import annotations

import base64
from dataclasses import replace
from fractions import Fraction

from orchd.domain.chain import TermsOf
from orchd.tickets.validation.grants import AuthKey, Grant, make_auth_token
from orchd.tickets.validation.keys import Basis
from orchd.tickets.validation.messages import PaymentMessage, SegmentMessage
from orchd.tickets.validation.schemes import BYOC, LIVE_RUNNER, Scheme
from orchd.tickets.validation.signatures import keccak256, u256
from orchd.tickets.validation.tickets import TicketTerms
from orchd.tickets.validation.validate import Expected
from orchd.tickets.validation.wire import encode
from orchd.tickets.validation.worth import Economics, make_terms
from tests.tickets.validation.receiver import FUNDED, KEY
from tests.tickets.validation.sender import Signer

RECIPIENT = Signer(b"\x11" * 32).address
PAYER = Signer(b"\x46" * 32)
OTHER = Signer(b"\x22" * 32)
PRICE = Fraction(2_500_000)
BLOCK, ROUND, ROUND_HASH = 23_500_000, 4321, b"\x6d" * 32
ECONOMICS = Economics(ticket_value=8 * 10**9, gas_price=10**7)
AUTH_KEY = AuthKey(5, b"k" * 32)
GRANT = Grant("xl", PAYER.address, PRICE, fixed=False, single_shot=False, issued_at=1_790_000_000)
NOTHING = bytes.fromhex("c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470")


def terms(scheme: Scheme = BYOC, number: int = 0, payer: Signer = PAYER, work: str = "paint") -> TicketTerms:
    """Return fresh terms; each number makes others."""
    basis = Basis(scheme.name, payer.address, PRICE, work if scheme.bound_to_work else "")
    when = TermsOf(BLOCK, ROUND, ROUND_HASH)
    return make_terms(KEY, number.to_bytes(28, "big"), basis, RECIPIENT, ECONOMICS, FUNDED, when)


def expected(scheme: Scheme = BYOC, payer: Signer = PAYER) -> Expected:
    """Return what a job of this payer asks of its payment."""
    return Expected(scheme, RECIPIENT, payer.address, "paint", PRICE if scheme is LIVE_RUNNER else None)


def good(scheme: Scheme = BYOC) -> PaymentMessage:
    """Return a good payment of two tickets."""
    return PAYER.payment(terms(scheme), [1, 2], PRICE)


def segment(manifest: str = "session_a", payer: Signer = PAYER) -> SegmentMessage:
    """Return good credentials of a payment to a session."""
    auth = make_auth_token(AUTH_KEY, replace(GRANT, payer=payer.address), manifest, 1_790_003_600)
    sig = payer.sign(keccak256(manifest.encode() + u256(0) + NOTHING))
    return SegmentMessage(manifest.encode(), 0, NOTHING, b"invalid", sig, auth)


def as_header(message: SegmentMessage) -> bytes:
    """Return credentials as their header's value."""
    return base64.b64encode(encode(message))
