"""What a signer signs, and what it refuses. Pure. Source: paid-live-runner.md 5 and 10."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from typing import Any

from orchd.tickets.validation.messages import (
    AuthToken,
    ExpirationParams,
    PaymentMessage,
    QuotedPrice,
    SegmentMessage,
    TicketParams,
)
from orchd.tickets.validation.signatures import ZERO_HASH, keccak256, u256
from orchd.tickets.validation.tickets import TicketTerms
from orchd.tickets.validation.wire import encode
from tests.doubles.gateway.purse import Funds, shown, with_round
from tests.doubles.signer.asked import UNITS, Asked, Refused, refusal, refuse
from tests.doubles.signer.rules import Rules, Why
from tests.doubles.signer.state import State, read_state
from tests.tickets.validation.sender import Signer, header

MAX_TICKETS = 100
AUTH_MARGIN_S = 180
"""Terms whose auth token ends sooner have to be refreshed."""
MAX_NONCE = 500
"""With so many tickets on one commitment, too."""
MAX_GAP_S = 3600
FIRST_UNITS = {"live": 10, "fixed": 1, "lv2v": 60 * 1280 * 720 * 30}
"""What a first payment covers, in units of the price: ten seconds, one job, a minute of pixels."""
UNITS_PER_S = {"live": 1, "lv2v": 1280 * 720 * 30}
_NS_PER_S = 10**9


@dataclass(frozen=True, slots=True)
class Limits:
    """What an operator lets a signer pay, in wei.

    Attributes:
        ticket_value: most that one ticket may be worth.
        batch_value: and the tickets of one payment.
        second_price: most for a second, as Livepeer Node's converts it from USD; None = no limit.
        recipients: who has a claimable reserve of this account; None = everybody.
    """

    ticket_value: int = 3 * 10**12
    batch_value: int = 2 * 10**13
    second_price: int | None = None
    recipients: frozenset[bytes] | None = None


@dataclass(frozen=True, slots=True)
class _Whole:
    """Terms that lack nothing which a payment is made from."""

    sent: TicketParams
    price: QuotedPrice
    auth: AuthToken


@dataclass(frozen=True, slots=True)
class Payer:
    """A signer at one moment.

    Attributes:
        now_ns: Unix time.
        new_id: makes so many random bytes.
    """

    rules: Rules
    account: Signer
    limits: Limits
    funds: Funds
    now_ns: int
    new_id: Callable[[int], bytes]

    def pay(self, asked: Asked) -> Mapping[str, Any]:
        """Return the members of the answer.

        Raises:
            Refused.
        """
        whole = self._whole(asked)
        state, price, auth = self._state(asked, whole.auth), whole.price, whole.auth
        sent = whole.sent if self.rules.echoes else with_round(whole.sent, self.funds)
        terms, wei = read_loosely(sent), Fraction(price.price_per_unit, price.pixels_per_unit)
        self._check_max_price(asked)
        self._check_terms(auth, terms)
        first = state.first_price if state else (price.price_per_unit, price.pixels_per_unit)
        self._check_price(asked, wei, Fraction(*first))
        nonce = state.nonce if state and state.commitment == terms.commitment else 0
        if terms.expiration_block <= self.funds.l1_block + 1:
            self._refuse(Why.EXPIRED)
        if nonce >= MAX_NONCE:
            self._refuse(Why.NONCES_SPENT)
        fee = (Fraction(*first) if self.rules.first_price else wei) * self._units(asked, state)
        balance = state.balance if state else Fraction(0)
        count = self._count(terms, max(fee, terms.expected_value) - balance)
        manifest = asked.manifest or self._own_manifest(auth)
        after = State(
            id=state.id if state else self.new_id(self.rules.id_bytes).hex(),
            commitment=terms.commitment,
            updated_ns=self.now_ns,
            orchestrator=asked.info.address.rjust(20, b"\0"),
            app=asked.app,
            nonce=nonce + count,
            balance=balance + count * terms.expected_value - fee,
            first_price=first,
            type=asked.type,
            sequence=state.sequence + 1 if state else 0,
            manifest=manifest,
        )
        return {
            "payment": self._payment(sent, terms, price, range(nonce + 1, nonce + count + 1)),
            "segCreds": self._segment(manifest, auth),
            "state": after.signed(self.rules, self.account),
        }

    def _refuse(self, why: Why, **filled: object) -> None:
        refuse(self.rules, why, **filled)

    def _refusal(self, why: Why) -> Refused:
        return refusal(self.rules, why)

    def _whole(self, asked: Asked) -> _Whole:
        """Return the terms; those that lack something the program wants are refused."""
        info = asked.info
        price, sent, auth = info.price_info, info.ticket_params, info.auth_token
        if price is None or not price.price_per_unit or not price.pixels_per_unit:
            raise self._refusal(Why.NO_PRICE)
        if sent is None:
            raise self._refusal(Why.NO_TERMS)
        if auth is None:
            raise self._refusal(Why.NO_AUTH)
        expires = sent.expiration_params or ExpirationParams()
        wanted = (
            sent.recipient and sent.recipient == info.address,
            len(sent.recipient_rand_hash) == 32,
            expires.creation_round and expires.round_hash.strip(b"\0"),
            auth.token and auth.session_id,
        )
        if not all(wanted):
            self._refuse(Why.INCOMPLETE)
        if asked.manifest and asked.manifest != auth.session_id:
            self._refuse(Why.OTHER_MANIFEST)
        if price.price_per_unit < 0:
            self._refuse(Why.NEGATIVE_PRICE, wei=price.price_per_unit)
        return _Whole(sent, price, auth)

    def _state(self, asked: Asked, auth: AuthToken) -> State | None:
        if asked.state is None:
            return None
        state = read_state(asked.state, self.account)
        if state is None:
            raise self._refusal(Why.STATE_SIGNATURE)
        if state.orchestrator != asked.info.address:
            self._refuse(Why.STATE_ORCHESTRATOR)
        if not asked.manifest:
            self._refuse(Why.STATE_MANIFEST_MISSING)
        if state.manifest != auth.session_id:
            self._refuse(Why.STATE_MANIFEST)
        if state.app != asked.app:
            self._refuse(Why.STATE_APP)
        if state.type != asked.type:
            self._refuse(Why.STATE_TYPE)
        if self.now_ns - state.updated_ns > MAX_GAP_S * _NS_PER_S:
            self._refuse(Why.TOO_LATE)
        return state

    def _check_max_price(self, asked: Asked) -> None:
        limit = asked.max_price
        if limit is None:
            return
        if limit.price <= 0:
            self._refuse(Why.MAX_PRICE_NUMBER)
        if limit.currency != "wei":
            self._refuse(Why.MAX_PRICE_CURRENCY)
        if limit.unit != UNITS[asked.type]:
            self._refuse(Why.MAX_PRICE_UNIT, unit=UNITS[asked.type], type=asked.type)

    def _check_terms(self, auth: AuthToken, terms: TicketTerms) -> None:
        if auth.expiration * _NS_PER_S < self.now_ns + AUTH_MARGIN_S * _NS_PER_S:
            self._refuse(Why.AUTH_ENDS)
        if not terms.expiration_block:
            self._refuse(Why.NO_EXPIRATION_BLOCK)
        worth, limit, deposit = terms.expected_value, self.limits.ticket_value, self.funds.deposit
        if not worth:
            self._refuse(Why.WORTHLESS)
        if worth >= terms.face_value:
            self._refuse(Why.FACE_VALUE_LOW, face_value=terms.face_value)
        if worth > limit:
            self._refuse(Why.TICKET_TOO_DEAR, worth=shown(worth), limit=shown(limit))
        if terms.face_value > deposit:
            self._refuse(Why.FACE_VALUE_HIGH, face_value=terms.face_value, deposit=deposit)
        if self.funds.withdraw_round and self.funds.withdraw_round <= self.funds.round + 1:
            self._refuse(Why.WITHDRAWING)
        if self.limits.recipients is not None and terms.recipient not in self.limits.recipients:
            self._refuse(Why.RECIPIENT_FUNDS)

    def _check_price(self, asked: Asked, price: Fraction, first: Fraction) -> None:
        say = partial(shown, places=3)
        if asked.max_price and price > asked.max_price.price:
            self._refuse(Why.ABOVE_MAX_PRICE, price=say(price), ceiling=say(asked.max_price.price))
        if price > first:
            self._refuse(Why.ABOVE_FIRST_PRICE, price=say(price), ceiling=say(first))
        ceiling = self.limits.second_price
        if ceiling is not None and asked.type == "live" and price > ceiling:
            self._refuse(Why.ABOVE_CEILING)

    def _units(self, asked: Asked, state: State | None) -> int:
        """Return how much has to be covered: whole seconds since the last payment, at least one."""
        if state is None or asked.type == "fixed":
            return FIRST_UNITS[asked.type]
        passed = -((state.updated_ns - self.now_ns) // _NS_PER_S)
        return UNITS_PER_S[asked.type] * max(1, passed)

    def _count(self, terms: TicketTerms, need: Fraction) -> int:
        worth = terms.expected_value
        if need <= 0:
            self._refuse(Why.NOTHING_DUE)
        count = math.ceil(need / worth)
        if count > MAX_TICKETS:
            self._refuse(Why.TOO_MANY_TICKETS, count=count)
        if count * worth > self.limits.batch_value:
            self._refuse(Why.BATCH_TOO_DEAR)
        return count

    def _own_manifest(self, auth: AuthToken) -> str:
        """Return the session where the client has named none."""
        return auth.session_id if Why.OTHER_MANIFEST in self.rules.refusals else self.new_id(4).hex()

    def _payment(self, sent: TicketParams, terms: TicketTerms, price: QuotedPrice, nonces: range) -> str:
        return header(
            PaymentMessage(
                ticket_params=sent if self.rules.echoes else replace(terms.on_wire(), expiration_params=None),
                sender=self.account.address,
                expiration_params=sent.expiration_params,
                ticket_sender_params=tuple(self.account.ticket(terms, nonce) for nonce in nonces),
                expected_price=price,
            )
        ).decode()

    def _segment(self, manifest: str, auth: AuthToken) -> str:
        content = keccak256(b"")
        digest = keccak256(manifest.encode() + u256(0) + content)
        message = SegmentMessage(
            manifest_id=manifest.encode(),
            hash=content,
            profiles=self.rules.profiles,
            sig=self.account.sign(digest),
            auth_token=auth,
        )
        return base64.b64encode(encode(message)).decode()


def read_loosely(sent: TicketParams) -> TicketTerms:
    """Return terms as signers read them, who check no lengths: short hashes and addresses are filled up."""
    expires = sent.expiration_params or ExpirationParams()
    face_value, win_prob, seed, block = (
        int.from_bytes(value, "big") for value in (sent.face_value, sent.win_prob, sent.seed, sent.expiration_block)
    )
    return TicketTerms(
        recipient=sent.recipient.rjust(20, b"\0"),
        face_value=face_value,
        win_prob=win_prob,
        commitment=sent.recipient_rand_hash.rjust(32, b"\0"),
        seed=seed,
        expiration_block=block,
        creation_round=expires.creation_round,
        round_hash=expires.round_hash or ZERO_HASH,
    )
