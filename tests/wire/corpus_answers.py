"""Answers of a runner, well-formed and hostile, made by the same rules as the requests of `corpus`.

A body is itself an answer (`SURPLUS`): who takes its framing otherwise than meant would give it to the next caller.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

from tests.wire.case import LINE_ENDS, MARKER, NUMBER, TARGET, chunked, request
from tests.wire.corpus import CODINGS, LENGTHS, LOOKALIKES, NAMES, chunk_bodies
from tests.wire.corpus_heads import CONTROLS
from tests.wire.meaning import Meaning, read_answers, read_requests
from tests.wire.rfc9112 import Incomplete

SURPLUS = b"HTTP/1.1 200 OK\r\nX-For: /s" + NUMBER + b"\r\nContent-Length: 2\r\n\r\nno"
SIZE = b"%d" % len(SURPLUS)
SIZED = b"Content-Length: " + SIZE
CHUNKED = b"Transfer-Encoding: chunked"
GET = request(method=b"GET", target=TARGET)
ASKS = {
    "GET": GET,
    "HEAD": request(method=b"HEAD", target=TARGET),
    "POST": request(b"Content-Length: 4", body=b"body", target=TARGET),
    "HTTP/1.0 GET": request(method=b"GET", target=TARGET, version=b"HTTP/1.0"),
}


@dataclass(frozen=True)
class AnswerCase:
    """Attributes:
    raw: what the runner sends.
    closes: the runner ends the connection behind it.
    """

    name: str
    raw: bytes
    asks: bytes = GET
    closes: bool = False

    def stream(self, number: int) -> bytes:
        """Return all that the caller sends: the request that is answered so, and a marker."""
        return (self.asks + MARKER).replace(NUMBER, b"%06d" % number)

    def meant(self, number: int) -> Meaning:
        return read_requests(self.stream(number))

    def answer(self, number: int) -> bytes:
        return self.raw.replace(NUMBER, b"%06d" % number)


def answer(*lines: bytes, body: bytes = b"", status: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join((status, *lines, b"", body))


def _framing() -> Iterator[tuple[str, bytes]]:
    for value in LENGTHS:
        line = b"Content-Length:%b%b" % (b"" if value[:1] in b" \t" else b" ", value.replace(b"N", SIZE))
        yield f"length {value!r}", answer(line, body=SURPLUS)
    for value in CODINGS:
        line = b"Transfer-Encoding: " + value
        yield f"coding {value!r}", answer(line, body=chunked(SURPLUS))
        yield f"coding {value!r} in HTTP/1.0", answer(line, body=chunked(SURPLUS), status=b"HTTP/1.0 200 OK")
    for name, value, body in (
        (b"Content-Length", b" " + SIZE, SURPLUS),
        (b"Transfer-Encoding", b" chunked", chunked(SURPLUS)),
    ):
        for pattern in NAMES + LOOKALIKES:
            yield f"{name.decode()} as {pattern!r}", answer(b"X-First: 1", pattern % name + value, body=body)
    for first, second in itertools.product((SIZE, b"0", b"1", b"0" + SIZE, b"x", b""), repeat=2):
        lines = (b"Content-Length: " + first, b"content-length: " + second)
        yield f"lengths {first!r} and {second!r}", answer(*lines, body=SURPLUS)
    for length, coding in itertools.product((b"0", SIZE, b"x"), (b"chunked", b"identity", b"gzip, chunked", b"")):
        both = (b"Content-Length: " + length, b"Transfer-Encoding: " + coding)
        yield f"length {length!r}, coding {coding!r}", answer(*both, body=chunked(SURPLUS))
        yield f"coding {coding!r}, length {length!r}", answer(*both[::-1], body=chunked(SURPLUS))
    for version in (b"HTTP/1.0", b"HTTP/1.1"):
        status = version + b" 200 OK"
        yield f"sized, {version!r}", answer(SIZED, body=SURPLUS, status=status)
        yield f"sized, {version!r}, kept", answer(SIZED, b"Connection: keep-alive", body=SURPLUS, status=status)
        yield f"sized, {version!r}, close", answer(SIZED, b"Connection: close", body=SURPLUS, status=status)
        yield f"to the end, {version!r}", answer(b"X-First: 1", body=SURPLUS, status=status)
        yield f"to the end, {version!r}, kept", answer(b"Connection: keep-alive", body=SURPLUS, status=status)
        yield f"nothing to the end, {version!r}", answer(b"X-First: 1", status=status)
    for size in (200_000, 131_072, 131_073):
        body = (SURPLUS * (size // len(SURPLUS) + 1))[:size]
        yield f"{size} bytes of known length", answer(b"Content-Length: %d" % size, body=body)
        yield f"{size} bytes of known length, and surplus", answer(b"Content-Length: %d" % size, body=body + SURPLUS)
        yield f"{size} bytes in chunks", answer(CHUNKED, body=chunked(body))
        yield f"{size} bytes to the end", answer(body=body)
        yield f"{size} bytes, one short", answer(b"Content-Length: %d" % (size + 1), body=body)
    yield "a second answer behind a sized one", answer(SIZED, body=SURPLUS + SURPLUS)
    yield "a second answer behind a chunked one", answer(CHUNKED, body=chunked(SURPLUS) + SURPLUS)
    yield "no HTTP behind a sized one", answer(SIZED, body=SURPLUS + b"\x00garbage")
    yield "an end of line behind a sized one", answer(SIZED, body=SURPLUS + b"\r\n")
    yield "short by one", answer(SIZED, body=SURPLUS[:-1])
    yield "no last chunk", answer(CHUNKED, body=chunked(SURPLUS)[:-5])
    yield "no end of the trailers", answer(CHUNKED, body=chunked(SURPLUS)[:-2])
    yield "nothing", b""
    yield "half a head", answer(SIZED, b"X-Half")[:-6]
    yield "half a status line", b"HTTP/1.1 20"


def _chunks() -> Iterator[tuple[str, bytes]]:
    for name, body in chunk_bodies(SURPLUS):
        yield name, answer(CHUNKED, body=body)


def _status() -> Iterator[tuple[str, bytes]]:
    lines = [
        b"HTTP/1.1 200", b"HTTP/1.1 200 ", b"HTTP/1.1 200  OK", b"HTTP/1.1 200 A b c", b"HTTP/1.1 200 \xff",
        b"HTTP/1.1 200\tOK", b"HTTP/1.1  200 OK", b"HTTP/1.1\t200 OK", b"HTTP/1.1 20 OK", b"HTTP/1.1 2000 OK",
        b"HTTP/1.1 099 OK", b"HTTP/1.1 000 OK", b"HTTP/1.1 600 OK", b"HTTP/1.1 999 OK", b"HTTP/1.1 -20 OK",
        b"HTTP/1.1 2x0 OK", b"HTTP/1.1 2 0 OK", b"HTTP/1.1 \xb200 OK", b"HTTP/1.1 0200 OK", b"HTTP/1.1", b"HTTP/1.1 OK",
        b"HTTP/1.0 200 OK", b"HTTP/1.2 200 OK", b"HTTP/2 200 OK", b"HTTP/2.0 200 OK", b"HTTP/0.9 200 OK",
        b"HTTP/1.10 200 OK", b"http/1.1 200 OK", b"HTTP/11 200 OK", b"HTTP/1,1 200 OK", b"ICY 200 OK",
        b"RTSP/1.0 200 OK", b" HTTP/1.1 200 OK", b"\r\nHTTP/1.1 200 OK", b"\nHTTP/1.1 200 OK", b"\x00HTTP/1.1 200 OK",
        b"xHTTP/1.1 200 OK", b"", b"GET / HTTP/1.1", b"HTTP/1.1 200 O\x00K", b"HTTP/1.1 200 O\rK",
        b"HTTP/1.1 200 O\nK: v", b"HTTP/1.1 200 O\x01K", b"HTTP/1.1 200 " + b"r" * 5000, b"HTTP/1.1 200 OK\r",
        b"<html>",
    ]  # fmt: skip
    for line in lines:
        yield f"status line {line[:60]!r}", answer(SIZED, body=SURPLUS, status=line)
    for status in (201, 204, 205, 206, 299, 300, 301, 304, 400, 401, 404, 407, 413, 417, 426, 431, 500, 502, 503, 599):
        start = b"HTTP/1.1 %d X" % status
        yield f"{status} with a length of 0", answer(b"Content-Length: 0", status=start)
        yield f"{status} with a body", answer(SIZED, b"Retry-After: 1", body=SURPLUS, status=start)
        yield f"{status} in chunks", answer(CHUNKED, body=chunked(SURPLUS, b"X-Sum: 1\r\n"), status=start)
        yield f"{status} with no framing", answer(b"X-First: 1", status=start)
        yield f"{status} with a length and nothing", answer(SIZED, status=start)


def _interim() -> Iterator[tuple[str, bytes]]:
    final = answer(SIZED, body=SURPLUS)
    for status in (100, 102, 103, 104, 199):
        start = b"HTTP/1.1 %d Wait" % status
        early = answer(b"Link: </a>; rel=preload", b"X-Twice: 1", b"X-Twice: 2", status=start)
        yield f"{status} before the answer", early + final
        yield f"{status} without headers", answer(status=start) + final
        yield f"{status} three times", early * 3 + final
        yield f"{status} and no answer", early
        yield f"{status} before an answer in chunks", early + answer(CHUNKED, body=chunked(SURPLUS))
        yield f"{status} before an answer to the end", early + answer(body=SURPLUS)
        yield (
            f"{status} of this connection only",
            answer(b"Connection: X-Hop", b"X-Hop: 1", b"Keep-Alive: 5", status=start) + final,
        )
        yield f"{status} with a length", answer(b"Content-Length: 5", status=start) + final
        yield f"{status} in chunks", answer(CHUNKED, status=start) + final
        yield f"{status} with a bad header", answer(b"No colon", status=start) + final
        yield f"{status} before no HTTP", early + b"garbage\r\n\r\n"
        yield f"{status} that says close", answer(b"Connection: close", status=start) + final
    switching = b"HTTP/1.1 101 Switching"
    yield "101 unasked", answer(b"Connection: Upgrade", b"Upgrade: websocket", status=switching) + final
    yield "101 unasked, to nothing", answer(status=switching) + final
    yield (
        "103 and 101 unasked",
        answer(status=b"HTTP/1.1 103 X") + answer(b"Connection: Upgrade", b"Upgrade: h2c", status=switching),
    )


def _fields() -> Iterator[tuple[str, bytes]]:
    for byte in CONTROLS:
        yield f"byte {byte!r} in a value", answer(b"X-Odd: a" + byte + b"b", SIZED, body=SURPLUS)
        yield f"byte {byte!r} in a name", answer(b"X" + byte + b"Odd: a", SIZED, body=SURPLUS)
    for line in (
        b"No colon",
        b":",
        b": x",
        b" : x",
        b" X: y",
        b"X-A: a\r\n b",
        b"X-A:\r\n\tb",
        b"X-A: a\r\n ",
        b"X : y",
        b"X\t: y",
        b"(X): y",
    ):
        yield f"line {line!r} first", answer(line, SIZED, body=SURPLUS)
        yield f"line {line!r} last", answer(SIZED, line, body=SURPLUS)
    for end in LINE_ENDS:
        for n in range(3):
            ends = [b"\r\n"] * 3
            ends[n] = end
            parts = (b"HTTP/1.1 200 OK", SIZED, b"")
            yield (
                f"{end!r} ends line {n} of the head",
                b"".join(p + e for p, e in zip(parts, ends, strict=True)) + SURPLUS,
            )
    sets = [
        (b"Set-Cookie: a=1", b"set-cookie: b=2", b"Set-Cookie: a=1"),
        (b"X-Empty:", b"X-Bytes: \xff\xe9", b"X-A:b", b"X-B:\t c \t"), (b"Date: mine", b"Server: mine"),
        (b"Content-Type: text/event-stream", b"Content-Encoding: gzip", b"Cache-Control: no-store", b"ETag: x"),
        (b"Livepeer-Request-Id: not-ours",), (b"X: " + b"y" * 50_000,), tuple(b"X-%d: y" % n for n in range(500)),
        (b"Keep-Alive: timeout=5", b"Proxy-Authenticate: x", b"Upgrade: h2c", b"TE: x", b"Trailer: X-Sum"),
        (b"WWW-Authenticate: Basic", b"Location: /x", b"Retry-After: 1", b"Vary: *"), (b"X: " + b"y" * 400_000,),
        (b"X: y",) * 100_000,
    ]  # fmt: skip
    hops = (b"X-Hop: 1", b"X-Kept: 2", b"x-hop: 3", b"Set-Cookie: c=3")
    options = (
        b"X-Hop",
        b"x-hop, close",
        b"keep-alive, X-Hop",
        b"close",
        b",X-Hop,,",
        b"Content-Length",
        b"Transfer-Encoding",
        b"Set-Cookie",
        b"Upgrade",
        b"@@",
        b"Date",
    )
    for lines in (*sets, *((b"Connection: " + option, *hops) for option in options)):
        shown = b" | ".join(lines)
        yield f"headers {shown[:60]!r}, {len(shown)}, sized", answer(*lines, SIZED, body=SURPLUS)
        yield (
            f"headers {shown[:60]!r}, {len(shown)}, chunked",
            answer(*lines, CHUNKED, body=chunked(SURPLUS, b"X-Sum: 4\r\nX-Hop: 1\r\n")),
        )


def _goes_on(raw: bytes, asks: bytes) -> bool:
    """Whether only the end of the connection ends it, or breaks it off."""
    return isinstance(read_answers(raw or b"H", [asks.partition(b" ")[0]], closed=False).fault, Incomplete)


def made() -> list[AnswerCase]:
    found: list[AnswerCase] = []
    for part, askers in (
        (_framing, ASKS),
        (_chunks, {"GET": GET, "HTTP/1.0 GET": ASKS["HTTP/1.0 GET"]}),
        (_status, ASKS),
        (_interim, ASKS),
        (_fields, {"GET": GET}),
    ):
        for name, raw in part():
            for who, asks in askers.items():
                found.append(AnswerCase(f"{name}, to {who}", raw, asks, closes=_goes_on(raw, asks)))
    return found
