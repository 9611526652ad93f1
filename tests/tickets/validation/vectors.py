"""The ticket vectors: what they say, as values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from orchd.tickets.validation.keys import Basis
from orchd.tickets.validation.signatures import minimal, read_address
from orchd.tickets.validation.tickets import TicketTerms

FOLDER = Path(__file__).parents[2] / "data" / "protocol" / "vectors"
TICKETS: dict[str, Any] = json.loads((FOLDER / "tickets.json").read_text())
REAL: dict[str, Any] = json.loads((FOLDER / "real-payments.json").read_text())


def raw(text: str) -> bytes:
    """Return bytes that are given as hex."""
    return bytes.fromhex(text.removeprefix("0x"))


def address(text: str) -> bytes:
    """Return the 20 bytes of an address."""
    found = read_address(text)
    assert found is not None
    return found


def terms_of(ticket: dict[str, str], seed: str = "0x00", expiration_block: str = "0") -> TicketTerms:
    """Return the terms of a ticket."""
    return TicketTerms(
        recipient=address(ticket["recipient"]),
        face_value=int(ticket["face_value"]),
        win_prob=int(ticket["win_prob"]),
        commitment=raw(ticket["recipient_rand_hash"]),
        seed=int(seed, 16),
        expiration_block=int(expiration_block),
        creation_round=int(ticket["creation_round"]),
        round_hash=raw(ticket["creation_round_block_hash"]),
    )


def message_of(terms: TicketTerms, basis: Basis) -> bytes:
    """Return what go-livepeer hashes for the random number. Two terms can share one, so ours is another."""
    numbers = (terms.face_value, terms.win_prob, terms.expiration_block, basis.price.numerator, basis.price.denominator)
    return minimal(terms.seed) + basis.payer + b"".join(map(minimal, numbers)) + terms.aux_data
