"""The random number that terms commit to, found again from the terms themselves: they need no memory. Pure.

go-livepeer joins numbers of any length to the message that it hashes, so that two different terms may share one; here
each has its width. The key's id is the head of the seed, which the payer sends back.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from typing import Protocol

from orchd.tickets.validation.signatures import ZERO_HASH, keccak256, u256
from orchd.tickets.validation.tickets import TicketTerms

ID_BYTES = 4
SEED_RANDOM_BYTES = 32 - ID_BYTES
_LABEL = b"orchd ticket terms 1".ljust(32, b"\0")


@dataclass(frozen=True, slots=True)
class Basis:
    """What terms hold for, besides what stands in them.

    Attributes:
        scheme: its name.
        payer: 20 bytes: the only one who may pay on them.
        price: wei per unit, not negative, that was quoted with them.
        work: the capability that they are good for; empty = any.
        fixed: the price is for a whole job, and not for a unit of time.
    """

    scheme: str
    payer: bytes
    price: Fraction
    work: str = ""
    fixed: bool = False


class Rands(Protocol):
    """Who knows the random numbers."""

    def rand(self, terms: TicketTerms, basis: Basis) -> int | None:
        """Return the number that these terms commit to if they are ours; None = made with a key that is gone."""


@dataclass(frozen=True, slots=True)
class TermsKey:
    """A secret of which random numbers are made.

    Attributes:
        id: 1 to 2**32 - 1.
        secret: 32 bytes.
    """

    id: int
    secret: bytes = field(repr=False)

    def seed(self, random: bytes) -> int:
        """Return the seed of new terms.

        Args:
            random: 28 fresh random bytes.
        """
        if len(random) != SEED_RANDOM_BYTES:
            raise ValueError(f"cannot make a seed of {len(random)} bytes: it takes {SEED_RANDOM_BYTES}")
        return int.from_bytes(self.id.to_bytes(ID_BYTES, "big") + random, "big")

    def rand(self, terms: TicketTerms, basis: Basis) -> int:
        """Return the random number of these terms, whatever they commit to."""
        price = basis.price
        message = b"".join(
            (
                _LABEL,
                u256(self.id),
                _name_hash(basis.scheme),
                keccak256(basis.work.encode()) if basis.work else ZERO_HASH,
                basis.payer.rjust(32, b"\0"),
                terms.recipient.rjust(32, b"\0"),
                *(
                    u256(number)
                    for number in (
                        *(terms.seed, terms.face_value, terms.win_prob, terms.expiration_block),
                        *(price.numerator, price.denominator, basis.fixed, terms.creation_round),
                    )
                ),
                terms.round_hash,
            )
        )
        return int.from_bytes(hmac.digest(self.secret, message, "sha256"), "big")


@dataclass(frozen=True, slots=True)
class TermsKeys:
    """The key of now, and those before it whose terms are still out there.

    Attributes:
        by_id: all of them.
    """

    by_id: Mapping[int, TermsKey] = field(repr=False)

    def rand(self, terms: TicketTerms, basis: Basis) -> int | None:
        """As `Rands.rand`."""
        key = self.by_id.get(terms.seed >> 8 * SEED_RANDOM_BYTES)
        return None if key is None else key.rand(terms, basis)


@cache
def _name_hash(scheme: str) -> bytes:
    """Return the hash of a scheme's name, of which there are two."""
    return keccak256(scheme.encode())
