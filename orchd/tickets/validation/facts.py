"""What the chain and the ledger say at the moment when a payment is judged. Pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from orchd.domain.chain import ChainFacts, PayerFacts


@dataclass(frozen=True, slots=True)
class BookFacts:
    """What the ledger holds of the payment's terms.

    Attributes:
        seen: nonces that were used on them.
        published: the redemption of a ticket on them has begun: anybody may know the random number, and so which
            tickets lose.
    """

    seen: Collection[int] = frozenset()
    published: bool = False


@dataclass(frozen=True, slots=True)
class PaymentFacts:
    """All that may change between two looks at one payment.

    Attributes:
        payer: None = nothing is known of the sender.
    """

    chain: ChainFacts
    payer: PayerFacts | None
    book: BookFacts = BookFacts()
