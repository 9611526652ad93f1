"""Is this payment good? All checks of payments.md, section 6, in their order. Pure.

A payment is taken whole or not at all: the first fault refuses it, and then none of its tickets is credited, none of
its nonces is used up and no winner is kept. (go-livepeer credits the tickets before the first bad one, and uses up the
nonces of the rest.)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

from orchd.domain.chain import ChainFacts, PayerFacts
from orchd.tickets.validation.facts import PaymentFacts
from orchd.tickets.validation.faults import Fault, PaymentRefused
from orchd.tickets.validation.keys import Basis, Rands
from orchd.tickets.validation.payment import Payment
from orchd.tickets.validation.schemes import MAX_NONCES, Scheme
from orchd.tickets.validation.signatures import ZERO_ADDRESS, signature_fault
from orchd.tickets.validation.tickets import TicketTerms, commitment_to, ticket_hash, wins


@dataclass(frozen=True, slots=True)
class Expected:
    """What a job asks of its payment.

    Attributes:
        scheme: by whose rules.
        recipient: 20 bytes: our address.
        payer: 20 bytes: who has signed the job or the segment; only this one may pay.
        work: the capability.
        price: wei per unit that was pinned to the session; None = that of the terms is honoured, whatever it was.
        fixed: a unit is a whole job; terms for units of time are none for it.
    """

    scheme: Scheme
    recipient: bytes
    payer: bytes
    work: str = ""
    price: Fraction | None = None
    fixed: bool = False


@dataclass(frozen=True, slots=True)
class Winner:
    """A ticket that can be redeemed.

    Attributes:
        nonce: of its sender.
        sig: 65 bytes.
        hash: of the ticket: each can be redeemed once.
        rand: the recipient's random number. Secret while tickets on its commitment are taken.
    """

    nonce: int
    sig: bytes
    hash: bytes
    rand: int = field(repr=False)


@dataclass(frozen=True, slots=True)
class Taken:
    """A good payment: what is booked if it is taken, all in one transaction.

    Attributes:
        payer: 20 bytes.
        terms: None = it had none and is worth nothing.
        price: wei per unit, as quoted; None without terms.
        nonces: in their order.
        winners: among them.
        credit: wei, exactly.
    """

    payer: bytes
    terms: TicketTerms | None = None
    price: Fraction | None = None
    nonces: tuple[int, ...] = ()
    winners: tuple[Winner, ...] = ()
    credit: Fraction = Fraction()


def validate(payment: Payment, expected: Expected, rands: Rands, facts: PaymentFacts) -> Taken:
    """Return what a payment is worth. Nothing is used up by that.

    Raises:
        PaymentRefused: with the first fault.
    """
    if (nothing := without_tickets(payment, expected)) is not None:
        return nothing
    scheme, terms = expected.scheme, payment.terms
    assert terms is not None
    _check_count(payment, scheme)
    check_active(facts.chain)
    price = _price(payment, expected)
    check_funds(payment.sender, facts.payer, facts.chain)
    rand = _rand(payment, terms, expected, price, rands)
    _check_terms(terms, facts)
    used = set[int]()
    winners: list[Winner] = []
    for ticket in payment.tickets:
        nonce, sig = ticket.sender_nonce, ticket.sig
        hashed = ticket_hash(terms, payment.sender, nonce)
        if fault := signature_fault(hashed, sig, payment.sender):
            raise _refused(fault, f"the signature of its ticket {nonce} is not that of its sender ({fault})")
        _check_nonce(nonce, used, scheme, facts)
        used.add(nonce)
        _check_expiry(terms, facts.chain)
        if wins(sig, rand, terms.win_prob):
            winners.append(Winner(nonce, sig, hashed, rand))
    nonces = tuple(each.sender_nonce for each in payment.tickets)
    return Taken(payment.sender, terms, price, nonces, tuple(winners), terms.expected_value * len(nonces))


def check_issued(payment: Payment, expected: Expected, rands: Rands) -> None:
    """Check that the terms of a payment were given to its sender, of which nothing need be known for that.

    Raises:
        PaymentRefused: they were not.
    """
    assert payment.terms is not None
    _rand(payment, payment.terms, expected, _price(payment, expected), rands)


def without_tickets(payment: Payment, expected: Expected) -> Taken | None:
    """Return what a payment without terms is worth, which is nothing; None = it has terms. Both must be its sender's.

    Raises:
        PaymentRefused: it names another sender than the request, or lacks terms where they must be.
    """
    terms = payment.terms
    if terms is not None and not payment.sender:
        raise _refused(Fault.SENDER_MISSING, "it names no sender")
    if payment.sender and payment.sender not in (expected.payer, ZERO_ADDRESS):
        raise _refused(Fault.SENDER_DIFFERS, "its sender is not the one who has signed the request")
    if terms is not None:
        return None
    if expected.scheme.min_tickets or payment.tickets:
        raise _refused(Fault.TERMS_MISSING, "it holds no ticket_params")
    return Taken(expected.payer)


def check_again(taken: Taken, scheme: Scheme, facts: PaymentFacts) -> None:
    """Check what may have changed since a payment was found good; no signature is looked at again.

    Raises:
        PaymentRefused: it may not be taken any more.
    """
    if taken.terms is None:
        return
    check_active(facts.chain)
    check_funds(taken.payer, facts.payer, facts.chain)
    _check_terms(taken.terms, facts)
    used = set[int]()
    for nonce in taken.nonces:
        _check_nonce(nonce, used, scheme, facts)
        used.add(nonce)
        _check_expiry(taken.terms, facts.chain)


def _refused(fault: Fault, why: str) -> PaymentRefused:
    return PaymentRefused(fault, f"cannot take the payment: {why}")


def _check_count(payment: Payment, scheme: Scheme) -> None:
    """Before any signature is looked at: that is what costs time."""
    count = len(payment.tickets)
    if count < scheme.min_tickets:
        raise _refused(Fault.TICKETS_MISSING, "it holds no ticket")
    if count > scheme.max_tickets:
        raise _refused(Fault.TICKETS_TOO_MANY, f"it holds {count} tickets; at most {scheme.max_tickets} can be")


def check_active(chain: ChainFacts) -> None:
    """Check that what is paid to us could be redeemed.

    Raises:
        PaymentRefused.
    """
    if not chain.active:
        raise _refused(
            Fault.RECIPIENT_INACTIVE, f"the orchestrator is not active in round {chain.round}, and could redeem nothing"
        )


def _price(payment: Payment, expected: Expected) -> Fraction:
    """Return the price that the sender believes to pay. That it was quoted, the commitment shows."""
    sent = payment.price
    if sent is None:
        raise _refused(Fault.PRICE_MISSING, "it has no expected_price")
    whole = expected.scheme.whole_price
    if sent.pixels_per_unit <= 0 or (whole and sent.pixels_per_unit != 1):
        wanted = "1" if whole else "at least 1"
        raise _refused(
            Fault.PRICE_DENOMINATOR,
            f"the denominator of its expected_price is {sent.pixels_per_unit}; it must be {wanted}",
        )
    if sent.price_per_unit < 0:
        raise _refused(Fault.PRICE_NEGATIVE, "its expected_price is negative")
    price = Fraction(sent.price_per_unit, sent.pixels_per_unit)
    if expected.price is not None and price != expected.price:
        raise _refused(
            Fault.PRICE_DIFFERS, f"its expected_price is {price} wei; {expected.price} were agreed on for this session"
        )
    return price


def check_funds(address: bytes, payer: PayerFacts | None, chain: ChainFacts) -> PayerFacts:
    """Check what backs a payer's tickets, and return it.

    Args:
        address: 20 bytes; it is named in the refusal, since the operator may want to know who comes without funds.

    Raises:
        PaymentRefused.
    """
    whom = f"cannot be paid by 0x{address.hex()}"
    if payer is None:
        raise PaymentRefused(Fault.SENDER_UNKNOWN, f"{whom}: what backs its tickets is not known now; try again")
    if payer.unlocks_soon(chain.round):
        raise PaymentRefused(Fault.SENDER_UNLOCKING, f"{whom}: it is set to unlock its deposit and reserve soon")
    if payer.deposit <= 0 or payer.reserve <= 0:
        raise PaymentRefused(Fault.SENDER_FUNDS, f"{whom}: it has no deposit or no reserve")
    if payer.unredeemed > payer.available:
        raise PaymentRefused(Fault.SENDER_FUNDS, f"{whom}: its tickets that have won exceed its deposit and reserve")
    return payer


def _rand(payment: Payment, terms: TicketTerms, expected: Expected, price: Fraction, rands: Rands) -> int:
    scheme = expected.scheme
    if terms.recipient != expected.recipient:
        raise _refused(Fault.RECIPIENT_DIFFERS, "its recipient is somebody else")
    if payment.sender == ZERO_ADDRESS:
        raise _refused(Fault.SENDER_ZERO, "its sender is the zero address")
    work = expected.work if scheme.bound_to_work else ""
    rand = rands.rand(terms, Basis(scheme.name, payment.sender, price, work, expected.fixed))
    if rand is None:
        raise _refused(Fault.COMMITMENT_KEY, "its terms are void since a key was changed; ask for new ones")
    if commitment_to(rand) != terms.commitment:
        raise _refused(Fault.COMMITMENT_DIFFERS, "its terms are not those that were given to its sender")
    return rand


def _check_terms(terms: TicketTerms, facts: PaymentFacts) -> None:
    if terms.creation_round < facts.chain.round - 1:
        raise _refused(
            Fault.ROUND_PASSED, f"its terms are of round {terms.creation_round}, too old now; ask for new ones"
        )
    if facts.payer is not None and terms.face_value > max(facts.payer.max_float, 0):
        raise _refused(Fault.FACE_VALUE_ABOVE_FLOAT, "its face value exceeds what its sender's reserve now covers")
    if facts.book.published:
        raise _refused(Fault.COMMITMENT_PUBLISHED, "a ticket on its terms is being redeemed; ask for new ones")


def _check_nonce(nonce: int, used: set[int], scheme: Scheme, facts: PaymentFacts) -> None:
    """`used` are the nonces before it in the same payment."""
    lowest, highest = scheme.nonces
    if not lowest <= nonce <= highest:
        raise _refused(Fault.NONCE_RANGE, f"a sender_nonce of it is {nonce}, not {lowest} to {highest}")
    if nonce in used or nonce in facts.book.seen:
        raise _refused(Fault.NONCE_SEEN, f"its sender_nonce {nonce} was used before on the same terms")
    if len(used) + len(facts.book.seen) >= MAX_NONCES:
        raise _refused(Fault.NONCES_USED_UP, f"its terms have been used for {MAX_NONCES} tickets; ask for new ones")


def _check_expiry(terms: TicketTerms, chain: ChainFacts) -> None:
    if terms.expiration_block <= chain.l1_block:
        raise _refused(
            Fault.TERMS_EXPIRED,
            f"its terms have expired at L1 block {terms.expiration_block}, now is {chain.l1_block}; ask for new ones",
        )
