"""The auth token of a challenge: all that must be known of a session that has paid nothing yet. Pure.

It comes back with each payment, so 10,000 challenges cost neither memory nor disk (paid-live-runner.md, 12).
"""

from __future__ import annotations

import hmac
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from orchd.tickets.validation.faults import Fault, PaymentRefused
from orchd.tickets.validation.messages import AuthToken

_LABEL = b"orchd auth token 1"
_HEAD = struct.Struct(">BI20s32s32s??QH")
"""Version, key, payer, price (numerator, denominator), fixed, single-shot, issued at, length of the runner's name."""
_VERSION = 1
_MAC_BYTES = 32


@dataclass(frozen=True, slots=True)
class Grant:
    """What a challenge has promised.

    Attributes:
        runner: its id; at most 256 bytes.
        payer: 20 bytes.
        price: wei per second, or per session.
        fixed: the price is per session.
        single_shot: one job, not a session.
        issued_at: Unix seconds.
    """

    runner: str
    payer: bytes
    price: Fraction
    fixed: bool
    single_shot: bool
    issued_at: int


@dataclass(frozen=True, slots=True)
class AuthKey:
    """A secret by which tokens are known again.

    Attributes:
        id: 1 to 2**32 - 1.
        secret: 32 bytes.
    """

    id: int
    secret: bytes = field(repr=False)

    def mac(self, body: bytes, session_id: str, expiration: int) -> bytes:
        """Return the end of the token."""
        session = session_id.encode()
        message = b"".join(
            (_LABEL, len(body).to_bytes(4, "big"), body, len(session).to_bytes(4, "big"), session)
        ) + expiration.to_bytes(8, "big", signed=True)
        return hmac.digest(self.secret, message, "sha256")


def make_auth_token(key: AuthKey, grant: Grant, session_id: str, expiration: int) -> AuthToken:
    """Return the token for a challenge.

    Args:
        session_id: the manifest.
        expiration: Unix seconds.
    """
    runner = grant.runner.encode()
    if len(runner) > 256 or len(grant.payer) != 20 or grant.price < 0:
        raise ValueError(f"cannot make an auth token for the runner {grant.runner!r} at {grant.price} wei")
    body = (
        _HEAD.pack(
            *(_VERSION, key.id, grant.payer),
            *(part.to_bytes(32, "big") for part in (grant.price.numerator, grant.price.denominator)),
            *(grant.fixed, grant.single_shot, grant.issued_at, len(runner)),
        )
        + runner
    )
    return AuthToken(body + key.mac(body, session_id, expiration), session_id, expiration)


def read_auth_token(token: AuthToken, keys: Mapping[int, AuthKey]) -> Grant:
    """Return what a token promises. Whether it has expired is another question: `check_grant`.

    Args:
        keys: by id: the key of now and those before it.

    Raises:
        PaymentRefused: we have not made it, or it was changed.
    """
    body, mac = token.token[:-_MAC_BYTES], token.token[-_MAC_BYTES:]
    if len(body) < _HEAD.size or body[0] != _VERSION:
        raise _no_token()
    _, key_id, payer, numerator, denominator, fixed, single_shot, issued_at, length = _HEAD.unpack_from(body)
    key = keys.get(key_id)
    if key is None:
        raise PaymentRefused(Fault.AUTH_KEY, "cannot take the payment: its auth token is void since a key was changed")
    if not hmac.compare_digest(mac, key.mac(body, token.session_id, token.expiration)):
        raise _no_token()
    assert length == len(body) - _HEAD.size  # We have made it.
    price = Fraction(int.from_bytes(numerator, "big"), int.from_bytes(denominator, "big"))
    return Grant(body[_HEAD.size :].decode(), payer, price, fixed, single_shot, issued_at)


def _no_token() -> PaymentRefused:
    return PaymentRefused(Fault.AUTH_TOKEN, "cannot take the payment: its auth token is not one that was given here")


def check_grant(grant: Grant, token: AuthToken, *, runner: str, payer: bytes, now: int) -> None:
    """Check that a token holds for this runner, this payer and now (Unix seconds).

    Raises:
        PaymentRefused: a new challenge helps.
    """
    if (grant.runner, grant.payer) != (runner, payer):
        raise PaymentRefused(
            Fault.MANIFEST_FOREIGN, "cannot take the payment: its manifest is of another runner or another payer"
        )
    if token.expiration <= now:
        raise PaymentRefused(Fault.AUTH_EXPIRED, "cannot take the payment: its auth token has expired")
