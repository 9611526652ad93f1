"""A strict and slow reading of HTTP/1.1 over whole byte strings, after RFC 9110 and RFC 9112 alone.

Where the RFC lets a recipient either repair or refuse, this reading refuses (`Malformed`). What has one meaning, but
may be refused by a careful recipient all the same, is read and noted in `doubts`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

Fields = tuple[tuple[bytes, bytes], ...]

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
FIELD = re.compile(rb"(%b):[ \t]*(.*?)[ \t]*" % TOKEN, re.DOTALL)
REQUEST_LINE = re.compile(rb"(%b) ([^\x00-\x20\x7f]+) HTTP/1\.([0-9])" % TOKEN)
STATUS_LINE = re.compile(rb"HTTP/1\.([0-9]) ([1-9][0-9][0-9])( (.*))?", re.DOTALL)
ORIGIN_OR_ABSOLUTE = re.compile(rb"/.*|[A-Za-z][A-Za-z0-9+.\-]*://[^/?#]+.*", re.DOTALL)
URI = re.compile(rb"[A-Za-z0-9\-._~:/?\[\]@!$&'()*+,;=%]+")
AUTHORITY = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._~%!$&'()*+,;=]*)(?::[0-9]*)?")
CONTROL = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
LENGTH = re.compile(rb"[0-9]+")
QUOTED = rb'"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[^\x00-\x08\x0a-\x1f\x7f])*"'
EXTENSION = rb"[ \t]*;[ \t]*%b(?:[ \t]*=[ \t]*(?:%b|%b))?" % (TOKEN, TOKEN, QUOTED)
CHUNK = re.compile(rb"([0-9A-Fa-f]+)((?:%b)*)" % EXTENSION)
CHUNK_ODDLY_EXTENDED = re.compile(rb"([0-9A-Fa-f]+)([ \t]*;.*)", re.DOTALL)
METHODS = frozenset(b"GET HEAD POST PUT DELETE OPTIONS PATCH".split())
MAX_HEAD_BYTES = 64 * 1024


class Malformed(Exception):
    """Attributes:
    head: the fault is in the head; else behind it, in the body or the trailers.
    """

    head = True


class Incomplete(Exception):
    """The bytes end too early.

    Attributes:
        head: within the head.
    """

    head = True


@dataclass(frozen=True)
class Message:
    """A request or an answer.

    Attributes:
        framing: none, sized, chunked, or close (to the end of the connection).
        end: offset behind it.
    """

    version: bytes
    fields: Fields
    method: bytes = b""
    target: bytes = b""
    status: int = 0
    body: bytes = b""
    trailers: Fields = ()
    framing: str = "none"
    doubts: frozenset[str] = frozenset()
    end: int = 0

    def values(self, name: bytes) -> list[bytes]:
        return values(self.fields, name)

    def listed(self, name: bytes) -> list[bytes]:
        """Return the members of a comma-separated list, lower case, without empty ones."""
        return [part for part in _members(self.values(name)) if part]

    @property
    def persists(self) -> bool:
        """Whether another message follows on this connection."""
        options = self.listed(b"connection")
        if b"close" in options or self.framing == "close":
            return False
        return self.version >= b"1.1" or b"keep-alive" in options


def values(fields: Fields, name: bytes) -> list[bytes]:
    return [value for given, value in fields if given.lower() == name]


def _members(lines: list[bytes]) -> list[bytes]:
    return [part.strip(b" \t").lower() for line in lines for part in line.split(b",")]


class _Reader:
    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at
        self.doubts: set[str] = set()

    def line(self, *, bare_lf: bool = False, nul: bool = False) -> bytes:
        """Return the next line without its CRLF.

        Args:
            bare_lf: an LF alone ends it too, with a doubt.
            nul: may be in it.
        """
        end = self.data.find(b"\n", self.at)
        if end < 0:
            raise Incomplete
        line = self.data[self.at : end]
        self.at = end + 1
        if line.endswith(b"\r"):
            line = line[:-1]
        elif bare_lf:
            self.doubts.add("bare LF")
        else:
            raise Malformed("a bare LF ends a line")
        if b"\r" in line or (b"\0" in line and not nul):
            raise Malformed("a bare CR or NUL in a line")
        return line

    def skip_line_ends(self) -> None:
        while self.data[self.at : self.at + 1] in (b"\r", b"\n"):  # RFC 9112, 2.2: a robust reader ignores empty lines.
            self.doubts.add("line ends before the message")
            self.at += 1

    def exactly(self, size: int) -> bytes:
        if len(self.data) - self.at < size:
            raise Incomplete
        self.at += size
        return self.data[self.at - size : self.at]

    def fields(self, *, lenient: bool = False) -> Fields:
        """Read to the empty line; `lenient`: folded values are joined, with a doubt."""
        found: list[tuple[bytes, bytes]] = []
        while line := self.line(bare_lf=lenient):
            if lenient and found and line[:1] in (b" ", b"\t"):
                self.doubts.add("obs-fold")
                name, value = found.pop()
                found.append((name, (value + b" " + line.strip(b" \t")).strip(b" ")))
                continue
            field = FIELD.fullmatch(line)
            if field is None:
                raise Malformed(f"not a header field: {line[:40]!r}")
            if field[1].lower() == b"transfer-encoding" and b"\t" in line:
                self.doubts.add("tab beside Transfer-Encoding")
            if CONTROL.search(field[2]):
                self.doubts.add("control byte in a value")
            found.append((field[1], field[2]))
        return tuple(found)

    def lengths(self, lines: list[bytes]) -> int | None:
        if not lines:
            return None
        members = _members(lines)
        numbers = [member for member in members if member]
        if not numbers or not all(LENGTH.fullmatch(number) for number in numbers):
            raise Malformed("Content-Length is not a number")
        different = {int(number) for number in numbers}
        if len(different) > 1:
            raise Malformed("Content-Lengths differ")
        if any(len(member) > 18 for member in members):
            self.doubts.add("long Content-Length")
        if len(members) > 1:
            self.doubts.add("Content-Length more than once")
        if len(set(members)) > 1:
            self.doubts.add("Content-Length in several spellings")
        return different.pop()

    def codings(self, lines: list[bytes]) -> bool:
        """Whether the body is chunked; no other coding is known here."""
        if not lines:
            return False
        members = _members(lines)
        if b"" in members:
            self.doubts.add("empty member of Transfer-Encoding")
        if [member for member in members if member] != [b"chunked"]:
            raise Malformed("unknown transfer coding")
        return True

    def chunks(self, most: int) -> tuple[bytes, Fields]:
        """Return body and trailers."""
        body = b""
        while True:
            line = self.line()
            chunk = CHUNK.fullmatch(line)
            if chunk is None:
                chunk = CHUNK_ODDLY_EXTENDED.fullmatch(line)
                self.doubts.add("odd chunk extension")
            if chunk is None:
                raise Malformed(f"not a chunk size: {line[:40]!r}")
            if len(chunk[1]) > 15:
                self.doubts.add("long chunk size")
            if len(chunk[2]) > 1024:
                self.doubts.add("long chunk extension")
            size = int(chunk[1], 16)
            if not size:
                break
            body += self.exactly(size)
            if self.data[self.at : self.at + 2] not in (b"", b"\r", b"\r\n"):
                raise Malformed("a chunk is longer than its size")
            self.exactly(2)
        start = self.at
        trailers = self.fields()
        if self.at - start > most:
            self.doubts.add("long trailers")
        return body, trailers

    def body(self, framing: str, length: int | None, most: int) -> tuple[bytes, Fields]:
        try:
            if framing == "chunked":
                return self.chunks(most)
            if framing == "sized":
                return self.exactly(length or 0), ()
            return b"", ()
        except (Malformed, Incomplete) as exc:
            exc.head = False
            raise


def read_request(data: bytes, at: int = 0, *, max_head: int = MAX_HEAD_BYTES) -> Message:
    """Return the request that begins at `at`.

    Raises:
        Malformed, Incomplete.
    """
    reader = _Reader(data, at)
    reader.skip_line_ends()
    line = reader.line()
    start = REQUEST_LINE.fullmatch(line)
    if start is None:
        raise Malformed(f"not a request line: {line[:80]!r}")
    method, target, minor = start[1], start[2], int(start[3])
    fields = reader.fields()
    if reader.at - at > max_head:
        raise Malformed("the head is too long")
    if method not in METHODS:
        reader.doubts.add("unusual method")
    if minor > 1:
        reader.doubts.add("unknown minor version")
    if line.count(b" ") > 2:  # RFC 9112, 3: a recipient may take any white space for one space.
        reader.doubts.add("more spaces than two")
    if not ORIGIN_OR_ABSOLUTE.fullmatch(target) and (method, target) != (b"OPTIONS", b"*"):
        reader.doubts.add("odd form of target")
    if not URI.fullmatch(target):
        reader.doubts.add("byte that a URI must not have")
    hosts = values(fields, b"host")
    if len(hosts) > 1 or (minor and not hosts):
        raise Malformed("Host is missing, or there more than once")
    if hosts and not AUTHORITY.fullmatch(hosts[0]):
        raise Malformed("Host is not an authority")
    if hosts == [b""]:
        reader.doubts.add("empty Host")
    if any(member != b"100-continue" for member in _members(values(fields, b"expect"))):
        reader.doubts.add("unknown expectation")
    codings, lengths = values(fields, b"transfer-encoding"), values(fields, b"content-length")
    if codings and (lengths or not minor):
        raise Malformed("Transfer-Encoding beside Content-Length, or in HTTP/1.0")
    chunked, length = reader.codings(codings), reader.lengths(lengths)
    framing = "chunked" if chunked else "none" if length is None else "sized"
    body, trailers = reader.body(framing, length, max_head)
    return Message(
        version=b"1.%d" % minor,
        fields=fields,
        method=method,
        target=target,
        body=body,
        trailers=trailers,
        framing=framing,
        doubts=frozenset(reader.doubts),
        end=reader.at,
    )


def read_answer(data: bytes, at: int, method: bytes, *, closed: bool) -> Message:
    """Return the one message that begins at `at`, which may be an interim one (1xx).

    Args:
        method: of the request that it answers.
        closed: the connection has ended behind `data`.

    Raises:
        Malformed, Incomplete.
    """
    reader = _Reader(data, at)
    reader.skip_line_ends()
    line = reader.line(bare_lf=True, nul=True)
    start = STATUS_LINE.fullmatch(line)
    if start is None:
        raise Malformed(f"not a status line: {line[:80]!r}")
    minor, status = int(start[1]), int(start[2])
    if start[3] is None:
        reader.doubts.add("no space behind the status")
    if CONTROL.search(start[4] or b""):
        reader.doubts.add("control byte in the reason")
    if minor > 1:
        reader.doubts.add("unknown minor version")
    if status >= 600:
        reader.doubts.add("unknown class of status")
    fields = reader.fields(lenient=True)
    if reader.at - at > MAX_HEAD_BYTES:
        reader.doubts.add("long head")
    codings, lengths = values(fields, b"transfer-encoding"), values(fields, b"content-length")
    chunked, length = reader.codings(codings), reader.lengths(lengths)
    if chunked and lengths:
        reader.doubts.add("Content-Length beside Transfer-Encoding")
    if chunked and not minor:
        reader.doubts.add("Transfer-Encoding in HTTP/1.0")
    framing = "chunked" if chunked else "sized" if length is not None else "close"
    if status < 200 or status in (204, 304) or method == b"HEAD":
        if framing != "close" and (status < 200 or status == 204):
            reader.doubts.add("framing where there is no body")
        framing = "none"
    body, trailers = reader.body(framing, length, MAX_HEAD_BYTES)
    if framing == "close":
        if not closed:
            error = Incomplete("its end is the connection's")
            error.head = False
            raise error
        body, reader.at = data[reader.at :], len(data)
    return Message(
        version=b"1.%d" % minor,
        fields=fields,
        status=status,
        body=body,
        trailers=trailers,
        framing=framing,
        doubts=frozenset(reader.doubts),
        end=reader.at,
    )
