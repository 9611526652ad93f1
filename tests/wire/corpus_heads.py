"""The part of the request corpus that deviates in the head: start line, Host, names, values, connection options."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tests.wire.case import CHUNKED, HOST, LINE_ENDS, NUMBER, SIZE, SMUGGLED, TARGET, chunked, request
from tests.wire.rfc9112 import MAX_HEAD_BYTES

CONTROLS = [bytes([n]) for n in (*range(32), 127, 128, 160, 255)]
SIZED = b"Content-Length: " + SIZE
EMPTY = b"Content-Length: 0"


def _start_lines() -> Iterator[tuple[str, bytes]]:
    methods = b"GET HEAD POST PUT DELETE OPTIONS PATCH TRACE CONNECT PRI PROPFIND PURGE M-SEARCH BREW get Post G!T~ A"
    for method in (
        *methods.split(),
        b"X" * 300,
        b"",
        b"GE T",
        b"GET\t",
        b"G\x00T",
        b"G\xffT",
        b"G(T",
        b'"GET"',
        b"G:T",
    ):
        shown = method if len(method) < 50 else method[:5] + b"..."
        yield f"method {shown!r}", request(EMPTY, method=method)
        yield f"method {shown!r} with a body", request(SIZED, body=SMUGGLED, method=method)
    versions = [
        b"HTTP/1.0", b"HTTP/1.2", b"HTTP/1.9", b"HTTP/2.0", b"HTTP/2", b"HTTP/0.9", b"HTTP/1", b"HTTP/1.", b"HTTP/1.10",
        b"HTTP/01.1", b"HTTP/1.01", b"HTTP/11", b"HTTP/1,1", b"HTTP/.1", b"http/1.1", b"Http/1.1", b"HTTPS/1.1",
        b"HTP/1.1", b"ICE/1.0", b"RTSP/1.0", b"HTTP /1.1", b"HTTP/ 1.1", b"HTTP/1 .1", b"HTTP/1.1 ", b"HTTP/1.1\t",
        b"HTTP/1.1x", b"HTTP/1.1 x", b"HTTP/1.1\x00", b"HTTP/\xb9.1", b"", b"x", b"HTTP/1.1\r", b"HTTP/1.1 HTTP/1.1",
    ]  # fmt: skip
    for version in versions:
        yield f"version {version!r}", request(SIZED, body=SMUGGLED, version=version)
    for space in (b"", b"  ", b"\t", b" \t", b"\x0b", b"\x0c", b"\xa0", b"\r", b"\x00", b"\r\n", b"\n"):
        for line in (b"POST%b" + TARGET + b" HTTP/1.1", b"POST " + TARGET + b"%bHTTP/1.1"):
            yield (
                f"{space!r} for the space in {line[:6]!r}...",
                b"\r\n".join((line % space, HOST, SIZED, b"", SMUGGLED)),
            )
    for before in (
        b" ",
        b"\t",
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n\r\n",
        b"\r\n ",
        b"\x00",
        b"\xef\xbb\xbf",
        b"x\r\n",
        b"\x16\x03",
    ):
        yield f"{before!r} before the request", before + request(SIZED, body=SMUGGLED)
    one = b"/models/wire/one"
    targets = [
        TARGET + b"?", TARGET + b"?a=b&c", TARGET + b"?a=/b?c", TARGET + b"/", TARGET + b"//x", TARGET + b"/../y",
        TARGET + b"/./y", TARGET + b"/%2e%2E/%2f%00%0d%0a%20", TARGET + b"/%", TARGET + b"/%zz", TARGET + b";a=b,c",
        TARGET + b"/:@!$&'()*+,;=-._~", TARGET + b"/a:b@c", TARGET + b"?" + b"q" * 4000, TARGET + b"/" + b"p" * 40_000,
        TARGET + b"#f", TARGET + b"?a#b", TARGET + b"/<>", TARGET + b'/"', TARGET + b"/{}|\\^`", TARGET + b"/[x]",
        TARGET + b"/\xc3\xa9", TARGET + b"/\xff", TARGET + b" x", TARGET + b"\tx", TARGET + b"/a b c",
        one + b"//c" + NUMBER, one + b"///c" + NUMBER, b"//models/wire/one/c" + NUMBER, b"/c" + NUMBER,
        b"/models/wire/none/c" + NUMBER, b"/models/none/one/c" + NUMBER, b"/models/c" + NUMBER, b"/../c" + NUMBER,
        b"/models/wire/one?c" + NUMBER, b"/wire?c" + NUMBER, b"/wire/?c" + NUMBER, b"/wire?x=/c" + NUMBER + b"&y=?",
        b"http://orchd.test" + TARGET, b"HTTP://ORCHD.test:80" + TARGET, b"http://other.test:1" + TARGET,
        b"https://orchd.test" + TARGET, b"http://orchd.test", b"http://orchd.test?c" + NUMBER, b"http://" + TARGET,
        b"http:" + TARGET, b"http:/" + TARGET, b"http://user:pw@orchd.test" + TARGET, b"ftp://orchd.test" + TARGET,
        b"http://orchd.test/wire?c" + NUMBER, b"http://[::1]:80" + TARGET, b"://orchd.test" + TARGET,
        b"unix://x" + TARGET, b"http://a b" + TARGET, b"http://orchd.test#" + TARGET, b"http://orchd.test\\@x" + TARGET,
        b"*", b"*c" + NUMBER, b"orchd.test:80", b"orchd.test", b"c" + NUMBER, b"models/wire/one/c" + NUMBER, b"wire",
        b"?c" + NUMBER, b"", b".", b"\\models\\wire", b"%2fmodels/wire/one/c" + NUMBER,
    ]  # fmt: skip
    for target in targets:
        shown = target if len(target) < 100 else target[:40] + b"..."
        for method in (
            (b"POST", b"OPTIONS") if target[:1] == b"*" else (b"POST", b"CONNECT") if b":" in target else (b"POST",)
        ):
            yield f"{method.decode()} {shown!r}", request(SIZED, body=SMUGGLED, method=method, target=target)
    yield "a target that is too long", request(EMPTY, target=TARGET + b"/" + b"x" * (2 * MAX_HEAD_BYTES))
    for byte in CONTROLS:
        yield f"byte {byte!r} in the target", request(SIZED, body=SMUGGLED, target=TARGET + b"/a" + byte + b"b")


def _hosts() -> Iterator[tuple[str, bytes]]:
    hosts = [
        b"orchd.test", b"ORCHD.TEST", b"orchd.test:80", b"orchd.test:", b"127.0.0.1:1", b"[::1]:80", b"[::1]", b"",
        b"a,b", b"a, b", b"a b", b"a/b", b"user@a", b"a?b", b"a#b", b"a:b", b"a:80:80", b"http://a", b"a\\b", b"a\x00",
        b"\xff", b"[::1", b"a]", b"<a>", b"a;b", b"%61", b"a\t", b"a\x0b", b"evil.test\r\nHost: orchd.test", b"x\r\n y",
    ]  # fmt: skip
    for host in hosts:
        yield f"Host {host!r}", request(SIZED, body=SMUGGLED, host=(b"Host: " + host,))
    for count in (0, 2, 3):
        for version in (b"HTTP/1.0", b"HTTP/1.1"):
            raw = request(SIZED, body=SMUGGLED, host=(HOST,) * count, version=version)
            yield f"{count} times Host in {version.decode()}", raw
    yield "Host of two spellings", request(EMPTY, host=(HOST, b"hOST: other.test"))
    for host in (b"Host : a", b" Host: a", b"Host", b"Host\t: a", b"Host_: a", b"\x00Host: a"):
        yield f"for a Host {host!r}", request(EMPTY, host=(host,))
        yield f"before the Host {host!r}", request(EMPTY, host=(host, HOST))
        yield f"behind the Host {host!r}", request(EMPTY, host=(HOST, host))


def _fields() -> Iterator[tuple[str, bytes]]:
    for byte in CONTROLS:
        yield f"byte {byte!r} in a value", request(b"X-Odd: a" + byte + b"b", SIZED, body=SMUGGLED)
        yield f"byte {byte!r} in a name", request(b"X" + byte + b"Odd: a", SIZED, body=SMUGGLED)
        yield f"byte {byte!r} before a value", request(b"X-Odd:" + byte + b"a", SIZED, body=SMUGGLED)
        yield f"byte {byte!r} behind a value", request(b"X-Odd: a" + byte, SIZED, body=SMUGGLED)
    for char in b"\"(),/:;<=>?@[\\]{}!#$%&'*+.^`|~":
        yield f"{chr(char)!r} in a name", request(b"X%cOdd: a" % char, SIZED, body=SMUGGLED)
    for line in (
        b"No colon",
        b":",
        b": x",
        b" : x",
        b"X-A",
        b"X-A\t",
        b" X: y",
        b"\tX: y",
        b"X-A: \r\n b",
        b"X-A:\r\n\tb",
        b"X-A: a\r\n ",
    ):
        yield f"line {line!r} first", request(SIZED, body=SMUGGLED, host=(line, HOST))
        yield f"line {line!r} last", request(SIZED, line, body=SMUGGLED)
    for end in LINE_ENDS:
        for n in range(4):
            ends = [b"\r\n"] * 4
            ends[n] = end
            parts = (b"POST " + TARGET + b" HTTP/1.1", HOST, SIZED, b"")
            raw = b"".join(part + e for part, e in zip(parts, ends, strict=True)) + SMUGGLED
            yield f"{end!r} ends line {n} of the head", raw
    well = [
        (b"X-Empty:", b"X-Empty2: "), (b"X-Twice: 1", b"x-tWICE: 2", b"X-Other: 3", b"X-Twice: 1"),
        (b"X-A:b", b"X-B:\t c \t"), (b"X-Colons: a:b:c", b"X-Quotes: \"a\" 'b' (c)", b"X-List: a,, b ,c,"),
        (b"X-Bytes: \xff\xe9\x80",), (b"Cookie: a=b; c",),
        (b"Accept: */*", b"Accept-Encoding: gzip", b"User-Agent: t/1"), (b"X: " + b"y" * 50_000,),
        tuple(b"X-%d: y" % n for n in range(990)),
        (b"Content-Type: text/plain", b"Content-Encoding: gzip", b"Content-MD5: x", b"Content-Range: bytes 0-1/2"),
        (b"X-Model-Id: one",),
        (b"Date: x", b"Via: 1.1 x", b"X-Forwarded-For: 1.2.3.4", b"Forwarded: for=x", b"Max-Forwards: 0"),
        (b"X" * 1000 + b": y",), (b"HTTP2-Settings: x", b"Sec-WebSocket-Key: x", b"Origin: x"),
        (b"Server: x", b"Set-Cookie: x"),
    ]  # fmt: skip
    secret = [
        b"Authorization: Bearer x", b"authorization:x", b"Livepeer: x", b"LIVEPEER-SEGMENT: x", b"Livepeer-Payment: x",
        b"livepeer_payment: x", b"Proxy-Authorization: x", b"Proxy-Connection: keep-alive", b"Keep-Alive: timeout=5",
        b"TE: trailers", b"TE: gzip, chunked", b"Trailer: X-Sum", b"Proxy-Authenticate: x", b"Upgrade: h2c",
        b"Livepeer-Request-Id: mine",
    ]  # fmt: skip
    for lines in (*well, *((line,) for line in secret), secret):
        shown = b" | ".join(lines)
        yield f"headers {shown[:60]!r}, {len(shown)}", request(*lines, SIZED, body=SMUGGLED)
    for lines in ((b"X: " + b"y" * (MAX_HEAD_BYTES + 1000),), (b"X: " + b"y" * 1000,) * 100, (b"X: y",) * 20_000):
        yield f"a head that is too long, {len(lines)} lines", request(*lines, SIZED, body=SMUGGLED)


def _connection() -> Iterator[tuple[str, bytes]]:
    options = [
        b"close", b"Close", b"keep-alive", b"keep-alive, close", b"close, keep-alive", b"X-Hop", b"x-hOP",
        b"X-Hop, close", b"X-Hop,X-Kept", b" X-Hop , keep-alive", b",X-Hop,,", b"X-Hop;q=1", b'"X-Hop"',
        b"X-Hop X-Kept", b"", b",", b"@@", b"Host", b"Content-Length", b"content-length, close", b"Transfer-Encoding",
        b"Content-Type", b"Authorization", b"Connection", b"Expect", b"X-Model-Id", b"TE, Trailer", b"Upgrade",
        b"upgrade, X-Hop", b"close\x0b", b"clo\r\n se", b"X-Hop\x00", b"xclose", b"close-x", b"*",
        b"Livepeer-Request-Id", b"Cookie", b"X-Hop" + b", a" * 990,
    ]  # fmt: skip
    hops = (b"X-Hop: 1", b"X-Kept: 2", b"x-hop: 3", b"Content-Type: text/plain", b"X-Model-Id: one")
    for option in options:
        shown = option if len(option) < 60 else option[:20] + b"..."
        line = b"Connection: " + option
        yield f"Connection {shown!r}, sized", request(line, *hops, SIZED, body=SMUGGLED)
        yield f"Connection {shown!r}, chunked", request(CHUNKED, *hops, line, body=chunked(SMUGGLED, b"X-Kept: t\r\n"))
        yield f"Connection {shown!r} in HTTP/1.0", request(line, *hops, SIZED, body=SMUGGLED, version=b"HTTP/1.0")
    for first, second in (
        (b"keep-alive", b"X-Hop"),
        (b"X-Hop", b"close"),
        (b"close", b"keep-alive"),
        (b"X-Kept", b"X-Hop"),
    ):
        raw = request(b"Connection: " + first, *hops, b"connection: " + second, SIZED, body=SMUGGLED)
        yield f"Connection twice, {first!r} and {second!r}", raw


def _upgrade() -> Iterator[tuple[str, bytes]]:
    key = (b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    protocols = (
        b"websocket",
        b"WebSocket",
        b"h2c",
        b"h2c, websocket",
        b"websocket, h2c",
        b"TLS/1.0",
        b"foo",
        b"",
        b"websocket/13",
        b"HTTP/2.0",
    )
    for protocol in protocols:
        for connection in (
            (b"Connection: Upgrade",),
            (b"Connection: keep-alive, upgrade, HTTP2-Settings", b"HTTP2-Settings: AA"),
            (),
        ):
            lines = (b"Upgrade: " + protocol, *connection, *key)
            asked = f"Upgrade {protocol!r} with {len(connection)} Connection"
            yield f"{asked}, GET", request(*lines, method=b"GET")
            yield f"{asked}, GET with a body", request(*lines, SIZED, body=SMUGGLED, method=b"GET")
            yield f"{asked}, GET in chunks", request(*lines, CHUNKED, body=chunked(SMUGGLED), method=b"GET")
            yield f"{asked}, POST with a body", request(*lines, SIZED, body=SMUGGLED)
            yield f"{asked}, POST of nothing", request(*lines, EMPTY)
            yield f"{asked}, HTTP/1.0", request(*lines, method=b"GET", version=b"HTTP/1.0")
    yield "Upgrade twice", request(b"Upgrade: h2c", b"Upgrade: websocket", b"Connection: Upgrade", SIZED, body=SMUGGLED)
    yield "CONNECT", b"CONNECT orchd.test:80 HTTP/1.1\r\nHost: orchd.test:80\r\n\r\n" + SMUGGLED


def _expect() -> Iterator[tuple[str, bytes]]:
    for value in (
        b"100-continue",
        b"100-Continue",
        b"100-continue, 100-continue",
        b"foo",
        b"100-continue, foo",
        b"",
        b"100-continue;a",
        b"200-ok",
    ):
        line = b"Expect: " + value
        yield f"Expect {value!r}, sized", request(line, SIZED, body=SMUGGLED)
        yield f"Expect {value!r}, chunked", request(line, CHUNKED, body=chunked(SMUGGLED))
        yield f"Expect {value!r}, no body", request(line, method=b"GET")
        yield f"Expect {value!r}, a body of nothing", request(line, EMPTY)
        yield f"Expect {value!r}, HTTP/1.0", request(line, SIZED, body=SMUGGLED, version=b"HTTP/1.0")
    yield "Expect twice", request(b"Expect: 100-continue", b"Expect: 100-continue", SIZED, body=SMUGGLED)


def _read_ahead() -> Iterator[tuple[str, bytes]]:
    """Only the body names the model, so it is read before the runner is known."""
    for size in (0, 1000, 60_000, 70_000, 200_000):
        body = json.dumps({"model_id": "b", "more": "x" * size}).encode()
        line = b"Content-Type: application/json"
        target = b"/pair?c" + NUMBER
        yield (
            f"read ahead, {len(body)} sized",
            request(line, b"Content-Length: %d" % len(body), body=body, target=target),
        )
        framed = chunked(body, b"X-Sum: 4\r\n")
        yield f"read ahead, {len(body)} in chunks", request(line, CHUNKED, body=framed, target=target)
        yield (
            f"read ahead, {len(body)}, then no chunk",
            request(line, CHUNKED, body=framed[:-15] + b"zz\r\n", target=target),
        )
    yield "read ahead of nothing", request(EMPTY, target=b"/pair?c" + NUMBER)
    yield (
        "several requests behind one another",
        b"".join(
            request(SIZED, body=SMUGGLED, target=TARGET + b"/%d" % n)
            + request(CHUNKED, body=chunked(b"x"), target=TARGET + b"/b%d" % n)
            for n in range(10)
        ),
    )


def heads() -> Iterator[tuple[str, bytes]]:
    for part in (_start_lines, _hosts, _fields, _connection, _upgrade, _expect, _read_ahead):
        yield from part()
