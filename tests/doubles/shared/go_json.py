"""Go's encoding/json: its error texts, its strict types, and how it writes values.

Decoding gives dicts, lists, str, bool, None and `Number`. Source: Go's encoding/json/scanner.go.
"""

from __future__ import annotations

import json
import re
from typing import Any

_SPACE = " \t\r\n"
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")


class GoJsonError(Exception):
    """The text is Go's."""


class Number(str):
    """A number as it was written."""

    __slots__ = ()


def decode(text: str, *, stream: bool = False) -> Any:
    """Return the value of `text`; with `stream` as json.Decoder reads it: what follows the value is ignored.

    Raises:
        GoJsonError: not JSON.
    """
    scanner = _Scanner(text, stream)
    value = scanner.value()
    scanner.skip_space()
    if not stream and scanner.at < len(text):
        raise scanner.invalid("after top-level value")
    return value


class _Scanner:
    def __init__(self, text: str, stream: bool) -> None:
        self.text = text
        self.at = 0
        self.stream = stream

    def skip_space(self) -> None:
        while self.at < len(self.text) and self.text[self.at] in _SPACE:
            self.at += 1

    def invalid(self, context: str) -> GoJsonError:
        if self.at >= len(self.text):
            if not self.stream:
                return GoJsonError("unexpected end of JSON input")
            return GoJsonError("unexpected EOF" if self.text.strip() else "EOF")
        char = self.text[self.at]
        shown = {"'": r"'\''", '"': "'\"'"}.get(char) or "'" + json.dumps(char, ensure_ascii=False)[1:-1] + "'"
        return GoJsonError(f"invalid character {shown} {context}")

    def peek(self) -> str:
        self.skip_space()
        return self.text[self.at] if self.at < len(self.text) else ""

    def value(self) -> Any:
        char = self.peek()
        if char == "{":
            return self.object()
        if char == "[":
            return self.array()
        if char == '"':
            return self.string()
        if char and char in "tfn":
            return self.literal({"t": ("true", True), "f": ("false", False), "n": ("null", None)}[char])
        if char and char in "-0123456789":
            return self.number()
        raise self.invalid("looking for beginning of value")

    def object(self) -> dict[str, Any]:
        self.at += 1
        found: dict[str, Any] = {}
        if self.peek() == "}":
            self.at += 1
            return found
        while True:
            if self.peek() != '"':
                raise self.invalid("looking for beginning of object key string")
            name = self.string()
            if self.peek() != ":":
                raise self.invalid("after object key")
            self.at += 1
            found[name] = self.value()
            if self.peek() not in (",", "}"):
                raise self.invalid("after object key:value pair")
            self.at += 1
            if self.text[self.at - 1] == "}":
                return found

    def array(self) -> list[Any]:
        self.at += 1
        found: list[Any] = []
        if self.peek() == "]":
            self.at += 1
            return found
        while True:
            found.append(self.value())
            if self.peek() not in (",", "]"):
                raise self.invalid("after array element")
            self.at += 1
            if self.text[self.at - 1] == "]":
                return found

    def string(self) -> str:
        start = self.at
        self.at += 1
        while self.at < len(self.text):
            char = self.text[self.at]
            if char == '"':
                self.at += 1
                return str(json.loads(self.text[start : self.at]))
            if char < " ":
                raise self.invalid("in string literal")
            if char == "\\":
                self.escape()
            self.at += 1
        raise self.invalid("in string literal")

    def escape(self) -> None:
        self.at += 1
        if self.at >= len(self.text) or self.text[self.at] not in 'bfnrt\\/"u':
            raise self.invalid("in string escape code")
        if self.text[self.at] == "u":
            for _ in range(4):
                self.at += 1
                if self.at >= len(self.text) or self.text[self.at] not in "0123456789abcdefABCDEF":
                    raise self.invalid("in \\u hexadecimal character escape")

    def literal(self, of: tuple[str, Any]) -> Any:
        word, value = of
        for place, char in enumerate(word):
            if self.at >= len(self.text) or self.text[self.at] != char:
                raise self.invalid(f"in literal {word} (expecting '{word[place]}')")
            self.at += 1
        return value

    def number(self) -> Number:
        match = _NUMBER.match(self.text, self.at)
        if match is None:
            self.at += 1
            raise self.invalid("in numeric literal")
        self.at = match.end()
        return Number(match.group())


def kind(value: Any) -> str:
    """What Go calls the JSON type of a decoded value."""
    if isinstance(value, Number):
        return "number"
    return {dict: "object", list: "array", str: "string", bool: "bool", type(None): "null"}[type(value)]


def field(found: dict[str, Any], name: str) -> Any:
    """Return the value of a key, matched without regard to case as Go does; the last one wins. None if absent."""
    value = None
    for key, candidate in found.items():
        if key.lower() == name.lower():
            value = candidate
    return value


def integer(value: Any, where: str, *, go_type: str = "int64") -> int:
    """Return a JSON integer within int64; null and absent are 0.

    Raises:
        GoJsonError: of another type, with a fraction or exponent, or too large.
    """
    if value is None:
        return 0
    if not isinstance(value, Number):
        raise _mismatch(kind(value), where, go_type)
    if not re.fullmatch(r"-?[0-9]+", value) or not -(2**63) <= int(value) < 2**63:
        raise _mismatch(f"number {value}", where, go_type)
    return int(value)


def string(value: Any, where: str) -> str:
    """Return a JSON string; null and absent are empty. Raises GoJsonError for another type."""
    if value is None:
        return ""
    if isinstance(value, Number) or not isinstance(value, str):
        raise _mismatch(kind(value), where, "string")
    return value


def _mismatch(what: str, where: str, go_type: str) -> GoJsonError:
    return GoJsonError(f"json: cannot unmarshal {what} into Go struct field {where} of type {go_type}")


def encode(value: Any) -> str:
    """`json.Marshal` of a map[string]any: sorted keys, no spaces, HTML characters escaped, numbers as float64."""
    text = json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    for char, code in (
        ("<", r"\u003c"),
        (">", r"\u003e"),
        ("&", r"\u0026"),
        ("\u2028", r"\u2028"),
        ("\u2029", r"\u2029"),
    ):
        text = text.replace(char, code)
    return text


def _plain(value: Any) -> Any:
    if isinstance(value, Number):
        number = float(value)
        return int(number) if number.is_integer() and abs(number) < 1e21 else number
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    return value
