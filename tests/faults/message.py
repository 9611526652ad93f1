"""One HTTP/1 message in bytes that may go on, read by RFC 9112 alone. Pure; knows nothing of orchd."""

from __future__ import annotations

from dataclasses import dataclass

END = b"\r\n\r\n"
SIZE_DIGITS = 8


class Malformed(ValueError):
    """No continuation can make this HTTP."""


@dataclass(frozen=True)
class Message:
    """Attributes:
    first: request line or status line.
    body: without its framing, as far as it is there.
    end: where it ends in the data; None = it goes on.
    until_close: it ends with its connection.
    """

    first: str
    headers: tuple[tuple[str, str], ...]
    body: bytes
    trailers: tuple[tuple[str, str], ...]
    end: int | None
    until_close: bool = False

    def header(self, name: str) -> str | None:
        values = [value for given, value in self.headers if given.lower() == name.lower()]
        if len(values) > 1:
            raise Malformed(f"{name} is given {len(values)} times")
        return values[0] if values else None

    @property
    def status(self) -> int:
        """0 = this is a request."""
        return int(self.first.split(" ")[1]) if self.first.startswith("HTTP/") else 0


def parse(data: bytes) -> Message | None:
    """Return the message that `data` begins with; None while its head is not whole.

    An answer to HEAD is not for this reader.

    Raises:
        Malformed.
    """
    head, mark, rest = data.partition(END)
    if not mark:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    bare = Message(first, _fields(lines), b"", (), len(head) + len(END))
    length, coding = bare.header("Content-Length"), bare.header("Transfer-Encoding")
    if length is not None and coding is not None:
        raise Malformed("both Content-Length and Transfer-Encoding")
    if coding is not None:
        if coding.lower() != "chunked":
            raise Malformed(f"transfer coding {coding}")
        return _chunked(bare, data)
    if length is not None:
        body = rest[: int(length)]
        end = len(head) + len(END) + int(length)
        return Message(first, bare.headers, body, (), end if len(data) >= end else None)
    if bare.status in (204, 304) or bare.status < 200:
        return bare
    return Message(first, bare.headers, rest, (), None, until_close=True)


def _fields(lines: list[str]) -> tuple[tuple[str, str], ...]:
    pairs = [line.partition(":") for line in lines]
    for name, colon, _ in pairs:
        if not colon or not name or name != name.strip():
            raise Malformed(f"header line {name!r}")
    return tuple((name, value.strip(" \t")) for name, _, value in pairs)


def _chunked(bare: Message, data: bytes) -> Message:
    assert bare.end is not None
    body, at = bytearray(), bare.end

    def so_far(trailers: tuple[tuple[str, str], ...] = (), end: int | None = None) -> Message:
        return Message(bare.first, bare.headers, bytes(body), trailers, end)

    while True:
        line, mark, _ = data[at : at + 256].partition(b"\r\n")
        digits = line.split(b";")[0]
        if digits.strip(b"0123456789abcdefABCDEF\r") or len(digits) > SIZE_DIGITS or (mark and not digits):
            raise Malformed(f"chunk size {line[:40]!r}")
        if not mark:
            return so_far()
        at += len(line) + 2
        if not (size := int(digits, 16)):
            break
        body += data[at : at + size]
        if b"\r\n"[: len(after := data[at + size : at + size + 2])] != after:
            raise Malformed(f"{after!r} behind a chunk")
        at += size + 2
        if at > len(data):
            return so_far()
    if data[at : at + 2] == b"\r\n":
        return so_far(end=at + 2)
    lines, mark, _ = data[at:].partition(END)
    if not mark:
        return so_far()
    return so_far(_fields(lines.decode("latin-1").split("\r\n")), at + len(lines) + len(END))
