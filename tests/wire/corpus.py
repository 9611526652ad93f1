"""Requests, well-formed and hostile, made by rule: each place where a request can deviate x each deviation.

A body is, wherever it can be, itself a request (`SMUGGLED`): who takes its framing otherwise than meant would serve it.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from tests.wire.case import CHUNKED, LINE_ENDS, NUMBER, SIZE, SMUGGLED, Case, chunked, request
from tests.wire.corpus_heads import heads
from tests.wire.rfc9112 import MAX_HEAD_BYTES

# Numbers: `N` stands for the right length.
LENGTHS = [
    b"N", b"0N", b"000000000000000000000000N", b"  N", b"\tN", b"N \t", b"", b" ", b"+N", b"-N", b"-0", b"N.0", b"N.",
    b"NeN", b"0xN", b"0bN", b"0", b"N N", b"N,N", b"N, N", b"N,0N", b"N,0", b"0, N", b"N;", b"N;a=b", b"N,", b",N",
    b",", b"N,,N", b'"N"', b"'N'", b"N_0", b"1_0", b"\xb2", b"N\xb2", b"\xef\xbc\x91", b"N\x0b", b"\x0cN", b"N\x00",
    b"\x00N", b"N\r", b"\rN", b"N\xa0", b"N\x85", b"N#", b"NkB", b"a", b"chunked", b"nan", b"1e9", b"4294967296",
    b"18446744073709551616", b"9223372036854775807", b"9223372036854775808", b"18446744073709551615", b"9" * 40,
    b"4294967300", b"18446744073709551621", b"9999999999999999999999N",
]  # fmt: skip
CODINGS = [
    b"chunked", b"Chunked", b"CHUNKED", b" chunked", b"\tchunked\t", b"chunked ", b"", b"identity", b"gzip", b"deflate",
    b"trailers", b"xchunked", b"chunkedx", b"chunke", b"x-chunked", b"chunked, chunked", b"chunked,chunked",
    b"gzip, chunked", b"chunked, gzip", b"identity, chunked", b"chunked, identity", b", chunked", b"chunked,",
    b"chunked , ", b",", b"chunked;", b"chunked;q=1", b"chunked; a=b", b"chunked q=1", b'"chunked"', b"'chunked'",
    b"chun ked", b"chunked chunked", b"\x0bchunked", b"chunked\x0b", b"\x0cchunked", b"chunked\x00", b"\x00chunked",
    b"chunked\r", b"\rchunked", b"chun\xc5\xbfed", b"chunke\xc4\x91", b"\xefchunked", b"chunked\x85", b"\xa0chunked",
    b"chunked\x7f", b"chunked, cow", b"cow, chunked", b"{chunked}", b"chunked/1", b"1",
]  # fmt: skip
# How a header's name can be written wrong; `%b` stands for it.
NAMES = [
    b"%b :", b"%b\t:", b" %b:", b"\t%b:", b"%b\x00:", b"\x00%b:", b"%b\r:", b"\r%b:", b"%b\x0b:", b"%b", b":%b:",
    b"(%b):", b'"%b":', b"%b\xff:", b"\xa0%b:", b"%b\xad:", b"%b;:", b"%b=:", b"X: y %b:", b"X\r%b:", b"X: y\r%b:",
    b"X: y\n%b:", b"X: y\r %b:", b"X: y\r\r\n%b:", b"X: y\n\r%b:", b"X: y\r\n %b:", b"X: y\r\n\t%b:", b":\r\n%b:",
    b" \r\n%b:", b"X\r\n%b:", b"X: y\x00\r\n%b:",
]  # fmt: skip
# Other headers that only look like those of the framing.
LOOKALIKES = [b"X-%b:", b"%b-X:", b"%bs:", b"'%b':", b"~%b:"]


def _framing() -> Iterator[tuple[str, bytes]]:
    for value in LENGTHS:
        line = b"Content-Length:%b%b" % (b"" if value[:1] in b" \t" else b" ", value.replace(b"N", SIZE))
        for method in (b"POST", b"GET"):
            yield f"{method.decode()} with length {value!r}", request(line, body=SMUGGLED, method=method)
    for value in CODINGS:
        line = b"Transfer-Encoding: " + value
        yield f"coding {value!r}", request(line, body=chunked(SMUGGLED))
        yield f"coding {value!r}, ended at once", request(line, body=b"0\r\n\r\n" + SMUGGLED)
        yield f"coding {value!r} in HTTP/1.0", request(line, body=chunked(SMUGGLED), version=b"HTTP/1.0")
    sized = b"Content-Length: " + SIZE
    for name, value, body in (
        (b"Content-Length", b" " + SIZE, SMUGGLED),
        (b"Transfer-Encoding", b" chunked", chunked(SMUGGLED)),
    ):
        for pattern in NAMES + LOOKALIKES:
            yield f"{name.decode()} as {pattern!r}", request(pattern % name + value, body=body)
        for other in (b"_", b"", b" ", b"--", b"."):
            line = name.replace(b"-", other) + b":" + value
            yield f"{name.decode()} with {other!r} for its hyphen", request(line, body=body)
        for spelt in (name.lower(), name.upper(), name.swapcase()):
            yield f"{spelt.decode()}", request(spelt + b":" + value, body=body)
            yield f"{spelt.decode()} without a space", request(spelt + b":" + value.strip(), body=body)
    for first, second in itertools.product((SIZE, b"0", b"1", b"0" + SIZE, b"x", b""), repeat=2):
        lines = (b"Content-Length: " + first, b"content-length: " + second)
        yield f"lengths {first!r} and {second!r}", request(*lines, body=SMUGGLED)
    for first, second in itertools.product((b"chunked", b"identity", b"", b"x", b"gzip"), repeat=2):
        lines = (b"Transfer-Encoding: " + first, b"transfer-encoding: " + second)
        yield f"codings {first!r} and {second!r}", request(*lines, body=chunked(SMUGGLED))
    for length, coding in itertools.product(
        (b"0", SIZE, b"%d" % len(chunked(SMUGGLED)), b"x", b"", b"-1"),
        (b"chunked", b"Chunked", b"identity", b"xchunked", b"chunked, identity", b"", b"\x0bchunked"),
    ):
        both = (b"Content-Length: " + length, b"Transfer-Encoding: " + coding)
        yield f"length {length!r}, coding {coding!r}", request(*both, body=chunked(SMUGGLED))
        yield f"coding {coding!r}, length {length!r}", request(*both[::-1], body=chunked(SMUGGLED))
    yield "both, far apart", request(CHUNKED, *(b"X-%d: y" % n for n in range(40)), sized, body=chunked(SMUGGLED))
    yield "no framing", request(body=SMUGGLED)
    yield "no framing and a body that is no request", request(body=b"x=1&y=2")
    yield "a length in HTTP/1.0", request(sized, body=SMUGGLED, version=b"HTTP/1.0")
    yield "no framing in HTTP/1.0", request(body=SMUGGLED, version=b"HTTP/1.0")
    for size in (200_000, 131_072, 131_073):
        line, body = b"Content-Length: %d" % size, (SMUGGLED * (size // len(SMUGGLED) + 1))[:size]
        yield f"{size} bytes of known length", request(line, body=body)
        yield f"{size} bytes in chunks", request(CHUNKED, body=chunked(body))


CHUNK_SIZES = [
    b"N", b"0N", b"000000000000N", b"00000000000000000000000N", b"+N", b"-N", b"0xN", b" N", b"\tN", b"N ", b"N\t",
    b"Nh", b"N.0", b"N,N", b"N N", b"N_0", b"", b";a", b"g", b"N\x00", b"\x00N", b"N\r", b"\rN", b"N\x0b", b"\xb2",
    b"N;a", b"N;a=b", b"N;a=b;c", b"N ; a = b", b'N;a="b c"', b'N;a="\\""', b"N;", b"N;;", b"N; ", b"N;=", b'N;a="',
    b"N;a b", b"N;a=\xff", b"N;a\x00", b"N;a\rb", b"N;a\nb", b"N;a\r", b"N;\n", b"N\n;a", b"N;a\x01", b"N" + b";a" * 40,
    b"N;" + b"a" * (2 * MAX_HEAD_BYTES), b"10000000000000000", b"1000000000000000N", b"10000000N", b"ffffffffffffffff",
    b"fffffffffffffff0", b"7fffffffffffffff", b"8000000000000000", b"-1", b"f" * 30, b"0x0", b"00x",
]  # fmt: skip
TRAILERS = [
    b"X-Sum: 4\r\n", b"X-A: 1\r\nX-B: 2\r\nX-A: 3\r\n", b"X-Empty:\r\n", b"X-Odd: \xff\r\n", b"Content-Length: 5\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Host: evil.test\r\n", b"Authorization: Bearer x\r\n",
    b"Livepeer-Payment: x\r\n", b"Livepeer_Payment: x\r\n", b"Connection: close\r\n", b"Upgrade: websocket\r\n",
    b"Trailer: X\r\n", b"TE: gzip\r\n", b"Expect: 100-continue\r\n", b"Keep-Alive: x\r\n",
    b"X-Hop: named\r\nX-Sum: 4\r\n", b"No colon\r\n", b"X : y\r\n", b" X: y\r\n", b"X: y\r\n folded\r\n", b"X: y\n",
    b"X: y\rZ: w\r\n", b"X: a\x00b\r\n", b": y\r\n", b"X\x00: y\r\n", b"X: y\r\n\n", b"X: y\x01\r\n",
    b"X: " + b"y" * (2 * MAX_HEAD_BYTES) + b"\r\n", b"X: y\r\n" * 12_000,
    b"GET /models/wire/one/s" + NUMBER + b" HTTP/1.1\r\n",
]  # fmt: skip


def chunk_bodies(body: bytes) -> Iterator[tuple[str, bytes]]:
    """Every deviation of a chunked body; those of answers as well."""
    size = b"%x" % len(body)
    for value in CHUNK_SIZES:
        line = value.replace(b"N", size)
        shown = value if len(value) < 50 else value[:10] + b"..."
        yield f"chunk size {shown!r}", b"%b\r\n%b\r\n0\r\n\r\n" % (line, body)
        yield f"chunk size {shown!r} of the second chunk", b"1\r\nx\r\n%b\r\n%b\r\n0\r\n\r\n" % (line, body)
    for value in (b"0", b"000", b"0" * 40, b"0;a", b"0 ", b"0;a=b\n", b"0x", b"-0", b"+0", b"0\x00", b"00000000 "):
        yield f"last chunk {value!r}", b"%b\r\n%b\r\n%b\r\n\r\n" % (size, body, value)
    for end in LINE_ENDS:
        yield f"{end!r} behind a chunk size", b"%b%b%b\r\n0\r\n\r\n" % (size, end, body)
        yield f"{end!r} behind a chunk", b"%b\r\n%b%b0\r\n\r\n" % (size, body, end)
        yield f"{end!r} behind the last chunk", b"%b\r\n%b\r\n0%b\r\n" % (size, body, end)
        yield f"{end!r} behind the trailers", b"%b\r\n%b\r\n0\r\n%b" % (size, body, end)
    for by in (-1, 1):
        yield f"a chunk of {by} bytes too few", b"%x\r\n%b\r\n0\r\n\r\n" % (len(body) + by, body)
    yield "a chunk for each byte", b"".join(b"1\r\n%c\r\n" % byte for byte in body) + b"0\r\n\r\n"
    yield "two last chunks", b"%b\r\n%b\r\n0\r\n\r\n0\r\n\r\n" % (size, body)
    for trailer in TRAILERS:
        shown = trailer if len(trailer) < 60 else trailer[:10] + b"..."
        yield f"trailer {shown!r}", chunked(body, trailer)


def _chunks() -> Iterator[tuple[str, bytes]]:
    for name, body in chunk_bodies(SMUGGLED):
        yield name, request(CHUNKED, b"Connection: X-Hop", body=body)


def made() -> list[Case]:
    return [Case(name, raw) for name, raw in itertools.chain(_framing(), _chunks(), heads())]
