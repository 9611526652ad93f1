"""Bytes of `aiModels.json` -> its entries, each with the line it begins on. Pure; never raises.

The array's elements are read one by one, so that an entry knows its place and that what is wrong inside one entry
(a key written twice, a number that is far too large) stays that entry's fault. What breaks the JSON itself breaks the
file: nothing can then be said about the entries after it. Bounds keep a hostile or torn file cheap.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any

from orchd.catalog.breaks import break_at, broken, conflict_mark, no_array, quoted, skip_blank
from orchd.catalog.names import is_comment
from orchd.domain.state import Problem, Severity
from orchd.errors import Code

MAX_BYTES = 4 * 1024 * 1024
MAX_ENTRIES = 10_000
MAX_DEPTH = 16
MAX_DIGITS = 100
"""Digits of a number, and bound of its decimal exponent: whatever comes through converts to int or Fraction cheaply."""

_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\]]')
_COLON = re.compile(r"[ \t\r\n]*:")


@dataclass(frozen=True, slots=True)
class RawEntry:
    """One element of the array, as written.

    Attributes:
        index: 0-based. `line`: 1-based, where it begins.
        value: as JSON gives it; numbers are int or Decimal.
        text: its own JSON; may hold secrets.
        faults: what makes the entry unusable before its fields are even looked at; messages.
        repeated: keys that some object of it has more than once.
    """

    index: int
    line: int
    value: Any = field(repr=False)
    text: str = field(repr=False)
    faults: tuple[str, ...] = ()
    repeated: frozenset[str] = frozenset()

    def line_of(self, *path: str) -> int:
        """Return the line of the key at `path` (names as written), or of the deepest part of it that is there."""
        depth = found = at = 0
        for token in _TOKEN.finditer(self.text) if path else ():
            if token[0] in "{[":
                depth += 1
            elif token[0] in "}]":
                depth -= 1
            elif (
                depth == found + 1
                and _COLON.match(self.text, token.end())
                and json.loads(token[0], strict=False) == path[found]
            ):
                found, at = found + 1, token.start()
                if found == len(path):
                    break
        return self.line + self.text.count("\n", 0, at)


@dataclass(frozen=True, slots=True)
class Parsed:
    """A readable file: its entries in order, and warnings about the file as a whole."""

    entries: tuple[RawEntry, ...]
    warnings: tuple[Problem, ...] = ()


def parse(data: bytes, file: str) -> Parsed | Problem:
    """Return the entries of the file, or the one problem that makes it unreadable as a whole.

    Args:
        file: name to show in problems.
    """
    if len(data) > MAX_BYTES:
        size = f"{len(data) / 2**20:.1f}"
        return _unreadable(file, f"cannot read a file of {size} MiB: the limit is {MAX_BYTES >> 20} MiB")
    warnings: tuple[Problem, ...] = ()
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
        what = "starts with a byte order mark: orchd reads past it, go-livepeer refuses the file"
        warnings = (Problem(Severity.WARNING, Code.FILE_MALFORMED, what, file, 1, 1),)
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return _malformed(file, "", 0, "cannot read UTF-16 text: save the file as UTF-8")
    try:
        text = data.decode()
    except UnicodeDecodeError as exc:
        before = data[: exc.start].decode()
        what = f"cannot read byte 0x{data[exc.start]:02x}: expected UTF-8 text"
        return _malformed(file, before, len(before), what)
    try:
        return Parsed(tuple(_entries(text)), warnings)
    except _NoArray as exc:
        at, message = conflict_mark(text) or (exc.at, exc.message)
        return _malformed(file, text, at, message)


class _NoArray(Exception):
    """The JSON breaks at the character `at`."""

    def __init__(self, at: int, message: str) -> None:
        super().__init__(message)
        self.at, self.message = at, message


def _entries(text: str) -> Iterator[RawEntry]:
    """Yield the elements of the array that `text` is.

    Raises:
        _NoArray: it is not an array.
    """
    at = skip_blank(text, 0)
    if not text.startswith("[", at):
        raise _NoArray(at, no_array(text, at))
    reader = _ElementReader(text)
    at = skip_blank(text, at + 1)
    if text.startswith("]", at):
        return _nothing_after(text, at)
    while True:
        entry, at = reader.read(at)
        yield entry
        at = skip_blank(text, at)
        if text.startswith("]", at):
            return _nothing_after(text, at)
        if not text.startswith(",", at):
            raise _NoArray(at, break_at(text, at, "expected ',' or ']' after the entry"))
        at = skip_blank(text, at + 1)


def _nothing_after(text: str, closing: int) -> None:
    at = skip_blank(text, closing + 1)
    if at < len(text):
        raise _NoArray(at, break_at(text, at, "expected nothing after the array"))


class _ElementReader:
    """Reads elements out of one text and keeps count of lines."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._index = self._line_at = 0
        self._line = 1
        self._faults: list[str] = []
        self._repeated: set[str] = set()
        self._decoder = json.JSONDecoder(
            object_pairs_hook=self._object,
            parse_int=self._int,
            parse_float=self._decimal,
            parse_constant=self._constant,
        )

    def read(self, start: int) -> tuple[RawEntry, int]:
        """Return the element that begins at `start`, and where it ends."""
        if self._index == MAX_ENTRIES:
            raise _NoArray(start, f"cannot take more than {MAX_ENTRIES} entries")
        self._faults, self._repeated = [], set()
        try:
            value, end = self._decoder.raw_decode(self._text, start)
        except json.JSONDecodeError as exc:
            raise _NoArray(*broken(self._text, exc)) from None
        except RecursionError:
            raise _NoArray(start, "cannot read this entry: it is nested too deeply") from None
        self._line += self._text.count("\n", self._line_at, start)
        self._line_at = start
        faults = (*self._faults, *_unusable(value))
        entry = RawEntry(self._index, self._line, value, self._text[start:end], faults, frozenset(self._repeated))
        self._index += 1
        return entry, end

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        for name, times in Counter(name for name, _ in pairs).items():
            if times > 1 and not is_comment(name):
                self._repeated.add(name)
                self._faults.append(f"cannot tell which {quoted(name)} is meant: it is written {times} times")
        return dict(pairs)

    def _int(self, digits: str) -> int:
        return int(digits) if len(digits) <= MAX_DIGITS else self._senseless(digits)

    def _decimal(self, digits: str) -> Decimal | int:
        try:
            number = Decimal(digits)
        except InvalidOperation:
            return self._senseless(digits)
        return number if len(digits) <= MAX_DIGITS >= abs(number.adjusted()) else self._senseless(digits)

    def _constant(self, word: str) -> int:
        self._faults.append(f"cannot use {word}: JSON has no such number")
        return 0

    def _senseless(self, digits: str) -> int:
        self._faults.append(f"cannot use the number {digits[:12]}...: it is far too large")
        return 0


def _unusable(value: Any) -> Iterator[str]:
    """Say what no field could take, wherever it stands: text that isn't storable, nesting without end."""
    level, depth = [value], 0
    texts: list[str] = []
    while level and depth <= MAX_DEPTH:
        depth += 1
        below: list[Any] = []
        for item in level:
            if isinstance(item, str):
                texts.append(item)
            elif isinstance(item, dict):
                texts += item
                below += item.values()
            elif isinstance(item, list):
                below += item
        level = below
    if level:
        yield f"cannot use an entry nested deeper than {MAX_DEPTH} levels"
    if any("\0" in text for text in texts):
        yield "cannot use text with a NUL character (\\u0000)"
    if any("\ud800" <= char <= "\udfff" for text in texts if not text.isascii() for char in text):
        yield "cannot use text with half of a surrogate pair (\\ud800 to \\udfff)"


def _malformed(file: str, text: str, at: int, message: str) -> Problem:
    line = text.count("\n", 0, at) + 1
    column = at - text.rfind("\n", 0, at)
    return Problem(Severity.ERROR, Code.FILE_MALFORMED, message, file, line, column)


def _unreadable(file: str, message: str) -> Problem:
    return Problem(Severity.ERROR, Code.FILE_UNREADABLE, message, file)
