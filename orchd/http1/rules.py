"""What the head of an HTTP/1 message means for the connection: RFC 9112, sections 3, 6 and 9. Pure, and strict.

The parser (llhttp) refuses much of this by itself; the rules do not lean on that, so that they can be read alone.
A message that two readers could frame differently is refused, never repaired: that is how requests are smuggled.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from orchd.http1.names import LOWER, Header, Memo, tokens

CONTINUE, SWITCHING = 100, 101
NO_NAMES: frozenset[bytes] = frozenset()
MOST_NAMES = 1000
"""In one `Connection` header: a whole head of commas would be far more work than its bytes."""

_FRAMING = frozenset({b"content-length", b"transfer-encoding", b"connection", b"host", b"expect", b"upgrade"})
_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]*)?")
_REASON = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_MATTERS: Memo[bytes, bytes] = Memo(lambda name: lower if (lower := name.lower()) in _FRAMING else b"")


class Malformed(Exception):
    """Not a message that can be understood in just one way.

    Attributes:
        status: what a caller is told: 400, or 431 for a head that is too long.
        why: completes "it ...".
    """

    def __init__(self, why: str, status: int = 400) -> None:
        super().__init__(why)
        self.why = why
        self.status = status


class RequestHead:
    """What the head of a request means for the connection.

    Attributes:
        method, target: as they came.
        modern: HTTP/1.1; False = 1.0.
        keep_alive: the caller means to go on with the connection.
        length: of the body, bytes; None = it has no stated length.
        chunked: the body comes in chunks. Neither length nor chunks: there is no body.
        plain_length: bytes of the body, if nothing of this message follows but these, and after them comes another
            message; else -1.
        expects: the caller waits for `100 Continue`.
        switches: it asks to switch to WebSocket.
        last: no request follows it.
        hops: lower-case names that `Connection` declares to be of this connection only.
        memo: room for what a reader of the head has made of it. A head may be shared by all requests that have it.
    """

    until_close = False

    __slots__ = (
        "_first",
        "chunked",
        "expects",
        "headers",
        "hops",
        "keep_alive",
        "last",
        "length",
        "memo",
        "method",
        "modern",
        "plain_length",
        "switches",
        "target",
    )

    def __init__(self, method: bytes, target: bytes, version: str, headers: Sequence[Header]) -> None:
        """Args:
            version: `1.1` or `1.0`.

        Raises:
            Malformed.
        """
        self.modern = modern = _modern(version)
        self.method = method
        self.target = target
        self.headers = headers
        self.length: int | None = None
        self.chunked = False
        self.expects = False
        hops: set[bytes] = set()  # One set for all lines: a union for each would be quadratic.
        self.memo: object = None
        hosts = 0
        protocol = expectation = b""
        self._first: dict[bytes, bytes] = {}
        for name, value in headers:
            self._first.setdefault(LOWER[name], value)
            matters = _MATTERS[name]
            if not matters:
                continue
            if matters == b"host":
                hosts += 1
                if not _HOST.fullmatch(value.strip(b" \t")):
                    raise Malformed("has a Host that is none")
            elif matters == b"content-length":
                self.length = _length(value, self.length)
            elif matters == b"transfer-encoding":
                self.chunked = _chunked(value, again=self.chunked)
            elif matters == b"connection":
                hops.update(_declared(value))
            elif matters == b"expect":
                expectation = value
            else:
                protocol = value
        self.hops = frozenset(hops) if hops else NO_NAMES
        if hosts != 1 and (modern or hosts):
            raise Malformed("has no Host" if not hosts else "has several Hosts")
        if self.chunked and self.length is not None:
            raise Malformed("has both Content-Length and Transfer-Encoding")
        if self.chunked and not modern:
            raise Malformed("has a Transfer-Encoding, which HTTP/1.0 does not know")
        if expectation and modern and self.has_body:
            self.expects = expectation.strip(b" \t").lower() == b"100-continue"
        self.keep_alive = _kept(modern, self.hops)
        self.last = not self.keep_alive
        self.switches = False
        if protocol and modern and method == b"GET" and not self.has_body and b"upgrade" in self.hops:
            self.switches = protocol.strip(b" \t").lower() == b"websocket"
        self.plain_length = -1 if self.chunked or self.last or self.switches else self.length or 0

    @property
    def has_body(self) -> bool:
        return self.chunked or bool(self.length)

    def value(self, name: bytes) -> bytes | None:
        """Return the first value under this lower-case name."""
        value = self._first.get(name)
        return None if value is None else value.strip(b" \t")


class AnswerHead:
    """What the head of an answer means for the connection.

    Attributes:
        keep_alive: the runner means to go on with the connection, and nothing in the head suggests that bytes follow
            that are not of this answer.
        length: of the body, bytes; 0 where there can be none. None: it comes in chunks, or ends with the connection.
        until_close: the body ends with the connection.
        plain_length: as of a request.
        switches: what follows is of another protocol.
        interim: it precedes the answer proper.
        last: it is the final answer: nothing may follow it.
        hops: as of a request.
        memo: what every caller gets of it: see `jobs.request.Reply`.
    """

    __slots__ = (
        "chunked",
        "headers",
        "hops",
        "interim",
        "keep_alive",
        "last",
        "length",
        "memo",
        "plain_length",
        "reason",
        "status",
        "switches",
        "until_close",
    )

    def __init__(self, status: int, reason: bytes, version: str, headers: Sequence[Header], *, method: bytes) -> None:
        """Read what the head says.

        Args:
            version: `1.1` or `1.0`.
            method: of the request that this answers.

        Raises:
            Malformed.
        """
        if not 100 <= status <= 999:
            raise Malformed(f"has the status {status}")
        if not _REASON.fullmatch(reason):
            raise Malformed("has a malformed status line")
        modern = _modern(version)
        self.status = status
        self.interim = status < 200 and status != SWITCHING
        self.reason = reason
        self.headers = headers
        self.length, self.chunked, self.hops = _framing(headers)
        self.memo: tuple[bytes, bool] | None = None
        announced = False
        if bodiless(method, status):
            # A runner that announces a body where there is none may send it all the same, only later. Its head alone
            # can't tell for HEAD: there, a server that gives no length is not trusted either.
            announced = self.chunked or bool(self.length) or (method == b"HEAD" and self.length is None)
            self.length, self.chunked = 0, False
        self.until_close = self.length is None and not self.chunked
        self.keep_alive = _kept(modern, self.hops) and not self.until_close and not announced
        self.switches = status == SWITCHING
        self.last = status >= 200
        self.plain_length = -1 if self.chunked or self.until_close or self.switches else self.length or 0


def _framing(headers: Sequence[Header]) -> tuple[int | None, bool, frozenset[bytes]]:
    """Return what an answer's headers say of its body, and of themselves: length, whether it is chunked, and hops.

    Raises:
        Malformed.
    """
    length: int | None = None
    chunked = False
    hops: set[bytes] = set()
    for header in headers:
        matters = _MATTERS[header[0]]
        if not matters:
            continue
        if matters == b"content-length":
            length = _length(header[1], length)
        elif matters == b"transfer-encoding":
            chunked = _chunked(header[1], again=chunked)
        elif matters == b"connection":
            hops.update(_declared(header[1]))
    if chunked and length is not None:
        raise Malformed("has both Content-Length and Transfer-Encoding")
    return length, chunked, frozenset(hops) if hops else NO_NAMES


def bodiless(method: bytes, status: int) -> bool:
    """Return whether an answer has no body whatever its headers say (RFC 9112, section 6.3)."""
    return status in (204, 304) or method == b"HEAD" or status < 200


def _declared(value: bytes) -> list[bytes]:
    """Return the names that a `Connection` header declares."""
    if value.count(b",") >= MOST_NAMES:
        raise Malformed(f"names more than {MOST_NAMES} headers in its Connection")
    return tokens(value)


def _modern(version: str) -> bool:
    if version not in ("1.1", "1.0"):
        raise Malformed(f"is of HTTP version {version}; orchd speaks 1.1 and 1.0")
    return version == "1.1"


def _kept(modern: bool, hops: frozenset[bytes]) -> bool:
    """Whether the connection goes on (RFC 9112, section 9.3): `close` outweighs `keep-alive`."""
    return b"close" not in hops and (modern or b"keep-alive" in hops)


def _length(value: bytes, known: int | None) -> int:
    text = value.strip(b" \t")
    if not text.isdigit() or len(text) > 18:
        raise Malformed("has a Content-Length that is not a number")
    length = int(text)
    if known is not None and known != length:
        raise Malformed("has two Content-Lengths")
    return length


def _chunked(value: bytes, *, again: bool) -> bool:
    if again or value.strip(b" \t").lower() != b"chunked":
        raise Malformed("has a transfer coding that orchd does not know (it knows just chunked)")
    return True
