"""A ticket: its hash, whether it wins, what it is worth (payments.md, 4). Pure."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from orchd.tickets.validation.messages import ExpirationParams, TicketParams
from orchd.tickets.validation.signatures import MAX_U256, ZERO_HASH, keccak256, minimal, u256


@dataclass(frozen=True, slots=True)
class TicketTerms:
    """Terms of payment: what every ticket on them has in common.

    Attributes:
        recipient: 20 bytes: who is paid.
        face_value: wei that a winning ticket pays; less than 2**256, as every number here.
        win_prob: of 2**256 - 1.
        commitment: 32 bytes: hash of the recipient's random number (`recipient_rand_hash`).
        seed: with it the random number is found again.
        expiration_block: L1 block from which on no ticket is taken.
        creation_round: in which they were made; less than 2**63.
        round_hash: 32 bytes, as the RoundsManager keeps it for that round.
    """

    recipient: bytes
    face_value: int
    win_prob: int
    commitment: bytes
    seed: int
    expiration_block: int
    creation_round: int
    round_hash: bytes

    @property
    def expected_value(self) -> Fraction:
        """Wei that one ticket is worth, exactly."""
        return Fraction(self.face_value * self.win_prob, MAX_U256)

    @property
    def aux_data(self) -> bytes:
        """What of the round enters a ticket's hash: nothing, or 64 bytes."""
        if not self.creation_round and self.round_hash == ZERO_HASH:
            return b""
        return u256(self.creation_round) + self.round_hash

    def on_wire(self) -> TicketParams:
        """Return them as they are sent."""
        return TicketParams(
            recipient=self.recipient,
            face_value=minimal(self.face_value),
            win_prob=minimal(self.win_prob),
            recipient_rand_hash=self.commitment,
            seed=minimal(self.seed),
            expiration_block=minimal(self.expiration_block),
            expiration_params=ExpirationParams(self.creation_round, self.round_hash),
        )


def ticket_hash(terms: TicketTerms, sender: bytes, nonce: int) -> bytes:
    """Return the hash of a ticket, which its sender signs and the contract redeems."""
    return keccak256(ticket_preimage(terms, sender, nonce))


def ticket_preimage(terms: TicketTerms, sender: bytes, nonce: int) -> bytes:
    """Return what a ticket's hash is made of: 168 bytes and the aux data."""
    return b"".join(
        (
            terms.recipient,
            sender,
            u256(terms.face_value),
            u256(terms.win_prob),
            u256(nonce),
            terms.commitment,
            terms.aux_data,
        )
    )


def commitment_to(rand: int) -> bytes:
    """Return the hash by which terms commit to a random number."""
    return keccak256(u256(rand))


def wins(signature: bytes, rand: int, win_prob: int) -> bool:
    """Return whether a ticket with this signature wins. Nobody could foresee it: who signs does not know `rand`."""
    return int.from_bytes(keccak256(signature + u256(rand)), "big") < win_prob
