"""A set of nonces, small enough to be written with each payment. Pure.

Signers count up from 1, so nonces below 600 are bits of one number: 75 bytes for all of them. BYOC allows any uint32;
the others stand beside it. No commitment has more than 600 in all.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from orchd.tickets.validation.schemes import MAX_NONCES

_BITMAP_BYTES = (MAX_NONCES + 7) // 8


@dataclass(frozen=True, slots=True)
class NonceSet(Collection[int]):
    """Which nonces were used on one commitment. A value: adding returns another one.

    Attributes:
        bits: bit n stands for the nonce n below `MAX_NONCES`.
        others: from `MAX_NONCES` on.
    """

    bits: int = 0
    others: frozenset[int] = frozenset()

    def __contains__(self, nonce: object) -> bool:
        if not isinstance(nonce, int):
            return False
        return bool(self.bits >> nonce & 1) if 0 <= nonce < MAX_NONCES else nonce in self.others

    def __iter__(self) -> Iterator[int]:
        yield from (nonce for nonce in range(MAX_NONCES) if self.bits >> nonce & 1)
        yield from sorted(self.others)

    def __len__(self) -> int:
        return self.bits.bit_count() + len(self.others)

    def __or__(self, other: NonceSet) -> NonceSet:
        return NonceSet(self.bits | other.bits, self.others | other.others)

    def __sub__(self, other: NonceSet) -> NonceSet:
        return NonceSet(self.bits & ~other.bits, self.others - other.others)

    def __and__(self, other: NonceSet) -> NonceSet:
        return NonceSet(self.bits & other.bits, self.others & other.others)

    def pack(self) -> bytes:
        """Return it as it is stored."""
        others = sorted(self.others)
        return self.bits.to_bytes(_BITMAP_BYTES, "little") + struct.pack(f"<{len(others)}I", *others)


NO_NONCES = NonceSet()


def nonces_of(nonces: Iterable[int]) -> NonceSet:
    """Return the set of these, each 0 to 2**32 - 1."""
    bits, others = 0, []
    for nonce in nonces:
        if nonce < MAX_NONCES:
            bits |= 1 << nonce
        else:
            others.append(nonce)
    return NonceSet(bits, frozenset(others))


def unpack(stored: bytes) -> NonceSet:
    """Return what `NonceSet.pack` has written."""
    others = stored[_BITMAP_BYTES:]
    return NonceSet(
        int.from_bytes(stored[:_BITMAP_BYTES], "little"), frozenset(struct.unpack(f"<{len(others) // 4}I", others))
    )
