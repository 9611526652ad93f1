"""Ethereum addresses as people write them, with the checksum of EIP-55. Pure."""

from __future__ import annotations

from eth_hash.auto import keccak


def checksummed(address: bytes) -> str:
    """Return an address as text whose capitals tell a slip of the finger."""
    digits = address.hex()
    marks = keccak(digits.encode()).hex()
    return "0x" + "".join(digit.upper() if mark >= "8" else digit for digit, mark in zip(digits, marks, strict=False))


def is_mistyped(text: str) -> bool:
    """Return whether an address of 0x and 40 hex digits is written with a checksum that does not fit.

    One whose letters are all small, or all capital, has no checksum.
    """
    digits = text.removeprefix("0x")
    plain = digits in (digits.lower(), digits.upper())
    return not plain and text != checksummed(bytes.fromhex(digits))
