"""Keccak, addresses and the one kind of signature that payments know: 65 bytes over an Ethereum message. Pure."""

from __future__ import annotations

import re

from coincurve import PublicKey
from eth_hash.auto import keccak

from orchd.tickets.validation.faults import Fault

ZERO_ADDRESS = bytes(20)
ZERO_HASH = bytes(32)
MAX_U256 = (1 << 256) - 1
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
"""Of secp256k1."""
_ADDRESS = re.compile(r"0[xX]([0-9a-fA-F]{40})")


def u256(number: int) -> bytes:
    """Return the number as 32 bytes, big-endian."""
    return number.to_bytes(32, "big")


def minimal(number: int) -> bytes:
    """Return the number's big-endian bytes without leading zeros: what numbers are on the wire. 0 is empty."""
    return number.to_bytes((number.bit_length() + 7) // 8, "big")


def keccak256(data: bytes) -> bytes:
    """Return Ethereum's Keccak-256 (not SHA3-256)."""
    return keccak(data)


def signed_digest(hashed: bytes) -> bytes:
    """Return what is signed for 32 bytes: their hash as an Ethereum message (EIP-191)."""
    return keccak256(b"\x19Ethereum Signed Message:\n32" + hashed)


def address_of(public: PublicKey) -> bytes:
    """Return the 20 bytes of a key's address."""
    return keccak256(public.format(compressed=False)[1:])[12:]


def signer_of(hashed: bytes, signature: bytes) -> bytes | Fault:
    """Return the address that has signed 32 bytes, or what is wrong with the signature.

    The contract refuses a high `s` and a `v` other than 27 and 28, so we do, too.
    """
    if len(signature) != 65:
        return Fault.SIGNATURE_LENGTH
    if int.from_bytes(signature[32:64], "big") > _ORDER // 2:
        return Fault.SIGNATURE_HIGH_S
    if signature[64] not in (27, 28):
        return Fault.SIGNATURE_V
    try:
        public = PublicKey.from_signature_and_message(
            signature[:64] + bytes((signature[64] - 27,)), signed_digest(hashed), hasher=None
        )
    except ValueError:
        return Fault.SIGNATURE_INVALID
    return address_of(public)


def signature_fault(hashed: bytes, signature: bytes, signer: bytes) -> Fault | None:
    """Return what is wrong with this signer's signature of 32 bytes; None = it is right."""
    found = signer_of(hashed, signature)
    if isinstance(found, Fault):
        return found
    return None if found == signer else Fault.SIGNER_DIFFERS


def read_address(text: str) -> bytes | None:
    """Return the 20 bytes of an address in hex with `0x`, in any case; None = it is not one."""
    match = _ADDRESS.fullmatch(text)
    return bytes.fromhex(match[1]) if match else None
