"""A sender of payments: signs what receivers are to judge, right or wrong on purpose."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from fractions import Fraction

from coincurve import PrivateKey

from orchd.tickets.validation.messages import PaymentMessage, QuotedPrice, TicketSenderParams
from orchd.tickets.validation.signatures import address_of, keccak256
from orchd.tickets.validation.tickets import TicketTerms, ticket_hash
from orchd.tickets.validation.wire import encode

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


class Signer:
    """An account."""

    def __init__(self, key: str | bytes) -> None:
        self._key = PrivateKey(bytes.fromhex(key.removeprefix("0x")) if isinstance(key, str) else key)
        self.address = address_of(self._key.public_key)

    def sign(self, message: bytes) -> bytes:
        """Sign an Ethereum message (EIP-191): what payments are signed by are the 32 bytes of a hash."""
        digest = keccak256(b"\x19Ethereum Signed Message:\n%d" % len(message) + message)
        made = self._key.sign_recoverable(digest, hasher=None)
        return made[:64] + bytes((made[64] + 27,))

    def sign_text(self, text: str) -> bytes:
        """Sign a text as BYOC's headers do: its hash is the message."""
        return self.sign(keccak256(text.encode()))

    def ticket(self, terms: TicketTerms, nonce: int, sender: bytes | None = None) -> TicketSenderParams:
        """Sign a ticket."""
        return TicketSenderParams(nonce, self.sign(ticket_hash(terms, sender or self.address, nonce)))

    def payment(self, terms: TicketTerms, nonces: Sequence[int], price: Fraction) -> PaymentMessage:
        """Return a payment with these tickets, as Livepeer Node's signer makes it: the round stands in both places."""
        sent = terms.on_wire()
        return PaymentMessage(
            ticket_params=sent,
            sender=self.address,
            expiration_params=sent.expiration_params,
            ticket_sender_params=tuple(self.ticket(terms, nonce) for nonce in nonces),
            expected_price=QuotedPrice(price.numerator, price.denominator),
        )


def header(message: PaymentMessage) -> bytes:
    """Return a payment as its header's value."""
    return base64.b64encode(encode(message))


def high_s(signature: bytes) -> bytes:
    """Return the twin of a signature whose `s` is high: it recovers to the same key."""
    s = ORDER - int.from_bytes(signature[32:64], "big")
    return signature[:32] + s.to_bytes(32, "big") + bytes((55 - signature[64],))


def checksummed(address: bytes) -> str:
    """Return an address as payers write it: the case of its letters is a checksum (EIP-55)."""
    digits = address.hex()
    return "0x" + "".join(
        digit.upper() if int(mark, 16) > 7 else digit
        for digit, mark in zip(digits, keccak256(digits.encode()).hex(), strict=False)
    )
