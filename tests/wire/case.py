"""A case of the corpus, and what all of them are made of.

`NUMBER` stands for the number of the case; it is as long as what takes its place.
"""

from __future__ import annotations

from dataclasses import dataclass

from tests.wire.meaning import Meaning, read_requests

LINE_ENDS = [b"\n", b"\r", b"\r\r\n", b"\n\r\n", b"", b" \r\n", b"\r \n", b"\r\n\r\n", b"\x0b\r\n", b"\x00\r\n"]
NUMBER = b"@@@@@@"
TARGET = b"/models/wire/one/c" + NUMBER
HOST = b"Host: orchd.test"
SMUGGLED = b"GET /models/wire/one/s" + NUMBER + b" HTTP/1.1\r\nHost: orchd.test\r\n\r\n"
MARKER = b"GET /models/wire/one/m" + NUMBER + b" HTTP/1.1\r\nHost: orchd.test\r\nConnection: close\r\n\r\n"
SIZE = b"%d" % len(SMUGGLED)
CHUNKED = b"Transfer-Encoding: chunked"

Lines = tuple[bytes, ...]


def chunked(body: bytes, trailers: bytes = b"") -> bytes:
    return b"%x\r\n%b\r\n0\r\n%b\r\n" % (len(body), body, trailers)


@dataclass(frozen=True)
class Case:
    """Attributes:
    raw: what the caller sends before its marker.
    """

    name: str
    raw: bytes

    def stream(self, number: int) -> bytes:
        """Return all that the caller sends."""
        return (self.raw + MARKER).replace(NUMBER, b"%06d" % number)

    def meant(self, number: int) -> Meaning:
        return read_requests(self.stream(number))


def request(
    *lines: bytes,
    body: bytes = b"",
    method: bytes = b"POST",
    target: bytes = TARGET,
    version: bytes = b"HTTP/1.1",
    host: Lines = (HOST,),
) -> bytes:
    return b"\r\n".join((b"%b %b %b" % (method, target, version), *host, *lines, b"", body))
