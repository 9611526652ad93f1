"""PURE. As much of protobuf's wire format as one listing needs: varints and length-delimited fields."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

Value = int | bytes

_VARINT, _BYTES = 0, 2


def encode(*fields: tuple[int, Value]) -> bytes:
    """Return the message of numbered fields, in the order given; zero and empty are left out, as in proto3."""
    return b"".join(_field(number, value) for number, value in fields if value)


def _field(number: int, value: Value) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3 | _VARINT) + _varint(value)
    return _varint(number << 3 | _BYTES) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    """Negative numbers are int64 in two's complement."""
    value %= 1 << 64
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def decode(message: bytes) -> Mapping[int, list[Value]]:
    """Return the values by field number. Raises ValueError, IndexError for what is none of ours."""
    found: defaultdict[int, list[Value]] = defaultdict(list)
    at = 0
    while at < len(message):
        key, at = _read_varint(message, at)
        value, at = _read_varint(message, at)
        if key & 7 == _VARINT:
            found[key >> 3].append(value)
        elif key & 7 == _BYTES:
            found[key >> 3].append(message[at : at + value])
            at += value
        else:
            raise ValueError(f"cannot decode wire type {key & 7}")
    return found


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
