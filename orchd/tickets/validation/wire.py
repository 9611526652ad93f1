"""Protocol buffers, as little of them as payments need, and strict. Pure.

A message is a frozen dataclass whose `WIRE` names the number and kind of each field. Written here and not taken from a
library: a few small messages never change, and Google's package takes in silence what a receiver of money had better
refuse, such as a field that stands there twice. Unknown fields are skipped, as everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, ClassVar, TypeVar, cast

MAX_REPEATED = 1024
"""Most elements of one repeated field: more than any payment may hold tickets."""
_INT64 = 1 << 64
_MAX_FIELD = (1 << 29) - 1


class WireError(ValueError):
    """The bytes are no such message."""


class WireKind(Enum):
    """What a field holds; the value is its wire type."""

    INT64 = "int64"
    UINT32 = "uint32"
    BYTES = "bytes"
    TEXT = "string"
    ONE = "message"
    MANY = "repeated message"


class WireMessage:
    """Base of messages.

    Attributes:
        WIRE: by number: name of the attribute, kind, type of the message in it.
    """

    WIRE: ClassVar[Mapping[int, WireField]]


@dataclass(frozen=True, slots=True)
class WireField:
    """One field of a message."""

    name: str
    kind: WireKind
    holds: type[WireMessage] | None = None


M = TypeVar("M", bound=WireMessage)
_VARINTS = (WireKind.INT64, WireKind.UINT32)


def decode(message: type[M], data: bytes) -> M:
    """Return the message.

    Raises:
        WireError: cut off, a number out of range, a known field of another wire type, or one given twice that is not
            repeated (which libraries merge in silence).
    """
    found: dict[str, Any] = {}
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire_type = tag >> 3, tag & 7
        if not 1 <= number <= _MAX_FIELD:
            raise WireError(f"field number {number} is out of range")
        raw, at = _value(data, at, wire_type)
        field = message.WIRE.get(number)
        if field is not None:
            _keep(found, field, number, raw)
    return message(**{name: tuple(value) if isinstance(value, list) else value for name, value in found.items()})


def _keep(found: dict[str, Any], field: WireField, number: int, raw: int | bytes | None) -> None:
    kind = field.kind
    if (kind in _VARINTS) != isinstance(raw, int) or raw is None:
        raise WireError(f"field {number} is not of type {kind.value}")
    if kind is WireKind.MANY:
        many: list[WireMessage] = found.setdefault(field.name, [])
        if len(many) >= MAX_REPEATED:
            raise WireError(f"field {number} is repeated more than {MAX_REPEATED} times")
        many.append(_inner(field, raw))
        return
    if field.name in found:
        raise WireError(f"field {number} stands there twice")
    found[field.name] = _typed(field, number, raw)


def _typed(field: WireField, number: int, raw: int | bytes) -> object:
    match field.kind:
        case WireKind.INT64:
            return cast(int, raw) - _INT64 if cast(int, raw) >= _INT64 // 2 else raw
        case WireKind.UINT32:
            if cast(int, raw) >= 1 << 32:
                raise WireError(f"field {number} is longer than 32 bits")
            return raw
        case WireKind.TEXT:
            try:
                return cast(bytes, raw).decode()
            except UnicodeDecodeError as exc:
                raise WireError(f"field {number} is not UTF-8") from exc
        case WireKind.ONE:
            return _inner(field, raw)
        case _:
            return raw


def _inner(field: WireField, raw: int | bytes) -> WireMessage:
    assert field.holds is not None
    return decode(field.holds, cast(bytes, raw))


def _value(data: bytes, at: int, wire_type: int) -> tuple[int | bytes | None, int]:
    """Return what stands at `at`, and where the next field begins; None = of a type that no known field has."""
    match wire_type:
        case 0:
            return _varint(data, at)
        case 1 | 5:
            length, known = (8 if wire_type == 1 else 4), False
        case 2:
            length, at = _varint(data, at)
            known = True
        case _:
            raise WireError(f"wire type {wire_type} is unknown")
    if length > len(data) - at:
        raise WireError("it ends too early")
    return (data[at : at + length] if known else None), at + length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise WireError("it ends too early")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            if value >= _INT64:
                break
            return value, at
    raise WireError("a number is longer than 64 bits")


def encode(message: WireMessage) -> bytes:
    """Return the bytes of a message: fields in the order of their numbers, those with their default left out."""
    parts: list[bytes] = []
    kind = type(message)
    layout = _LAYOUTS.get(kind)
    if layout is None:
        layout = _LAYOUTS[kind] = _layout(kind)
    for tag, field in layout:
        value = getattr(message, field.name)
        match field.kind:
            case WireKind.INT64 | WireKind.UINT32:
                if value:
                    parts += (tag, _as_varint(value % _INT64))
            case WireKind.ONE:
                if value is not None:
                    parts += _with_length(tag, encode(value))
            case WireKind.MANY:
                for each in value:
                    parts += _with_length(tag, encode(each))
            case WireKind.TEXT | WireKind.BYTES:
                if value:
                    parts += _with_length(tag, value.encode() if isinstance(value, str) else value)
    return b"".join(parts)


_LAYOUTS: dict[type[WireMessage], tuple[tuple[bytes, WireField], ...]] = {}


def _layout(message: type[WireMessage]) -> tuple[tuple[bytes, WireField], ...]:
    """Return the fields of a message in the order of their numbers, each with the tag that stands before its value."""
    return tuple(
        (_as_varint(number << 3 | (0 if field.kind in _VARINTS else 2)), field)
        for number, field in sorted(message.WIRE.items())
    )


def _with_length(tag: bytes, data: bytes) -> tuple[bytes, bytes, bytes]:
    return tag, _as_varint(len(data)), data


def _as_varint(value: int) -> bytes:
    if value < 0x80:
        return value.to_bytes(1, "big")
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
