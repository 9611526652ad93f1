"""What of a payment only the ledger knows for sure, checked in the step in which its nonces are reserved. Pure."""

from __future__ import annotations

from orchd.tickets.ledger.nonces import NonceSet
from orchd.tickets.ledger.view import LedgerView
from orchd.tickets.validation.faults import Fault, PaymentRefused
from orchd.tickets.validation.keys import SEED_RANDOM_BYTES, TermsKeys
from orchd.tickets.validation.schemes import MAX_NONCES
from orchd.tickets.validation.tickets import TicketTerms


def check_terms(terms: TicketTerms, nonces: NonceSet, view: LedgerView, l1_block: int, keys: TermsKeys) -> None:
    """Check that a payment that was found good may still be taken.

    Args:
        l1_block: the highest ever seen.
        keys: those by which terms are known now.

    Raises:
        PaymentRefused: it may not.
    """
    used, seen = view.terms.get(terms.commitment), view.seen(terms.commitment)
    if twice := nonces & seen:
        raise _refused(Fault.NONCE_SEEN, f"its sender_nonce {min(twice)} was used before on the same terms")
    if len(nonces) + len(seen) > MAX_NONCES:
        raise _refused(Fault.NONCES_USED_UP, f"its terms have been used for {MAX_NONCES} tickets")
    if terms.expiration_block <= l1_block:
        raise _refused(Fault.TERMS_EXPIRED, f"its terms have expired at L1 block {terms.expiration_block}")
    if terms.seed >> 8 * SEED_RANDOM_BYTES not in keys.by_id:
        raise _refused(Fault.COMMITMENT_KEY, "its terms are void since a key was changed")
    if used is not None and used.published:
        raise _refused(Fault.COMMITMENT_PUBLISHED, "a ticket on its terms is being redeemed")


def _refused(fault: Fault, why: str) -> PaymentRefused:
    return PaymentRefused(fault, f"cannot take the payment: {why}; ask for new terms")
