"""The sample exchanges, as bytes on the wire: what a caller sends and the runner answers, and what each should get.

`@@@@@@` stands for the number of the case, which makes every request and every answer unlike all others.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from tests.faults.message import END, Message, parse

MARK = b"@@@@@@"
MODEL = "/models/fault/one"


def numbered(template: bytes, number: int) -> bytes:
    return template.replace(MARK, b"%06d" % number)


@dataclass(frozen=True)
class Sample:
    """Attributes:
    ask: head of the request; `ask_rest` is what follows it, `say` and `say_rest` the same of the answer.
    waits: status that the caller waits for before it sends `ask_rest`; 0 = it does not wait.
    tunnel: what follows the heads is not HTTP.
    reused: the fault is in the second request of both connections.
    points: where the faults are; empty = behind every byte.
    """

    name: str
    ask: bytes
    ask_rest: bytes
    say: bytes
    say_rest: bytes
    waits: int = 0
    tunnel: bool = False
    reused: bool = False
    points: tuple[int, ...] = ()

    @property
    def until_close(self) -> bool:
        """The answer ends with its connection."""
        return self.answered(0).until_close

    def request(self, number: int) -> bytes:
        return numbered(self.ask + self.ask_rest, number)

    def answer(self, number: int) -> bytes:
        return numbered(self.say + self.say_rest, number)

    def asked(self, number: int, size: int | None = None) -> Message:
        """Return what the request means, or the first `size` bytes of it, which must hold its head."""
        return _meaning(self.request(number)[:size], of=self.ask, tunnel=self.tunnel)

    def answered(self, number: int, size: int | None = None) -> Message:
        """Return the same of the answer. What a tunnel carries counts as its body."""
        return _meaning(self.answer(number)[:size], of=self.say, tunnel=self.tunnel)

    def behind(self, size: int) -> list[int]:
        """Return the points of faults in something of so many bytes."""
        return sorted({min(n, size) for n in self.points}) if self.points else list(range(size + 1))


def _meaning(data: bytes, *, of: bytes, tunnel: bool) -> Message:
    message = parse(data)
    assert message is not None
    return replace(message, body=data[len(of) :]) if tunnel else message


def _ask(*lines: str, method: str = "POST", version: str = "1.1") -> bytes:
    first = f"{method} {MODEL}/x?case=@@@@@@ HTTP/{version}"
    return "\r\n".join((first, "Host: f", "Livepeer-Request-Id: @@@@@@", *lines, "", "")).encode()


def _say(*lines: str, status: str = "200 OK") -> bytes:
    return "\r\n".join((f"HTTP/1.1 {status}", *lines, "", "")).encode()


def _chunks(*pieces: bytes, trailer: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n" + trailer + END


def _length(body: bytes) -> str:
    return f"Content-Length: {len(body)}"


_IN, _OUT = b"in @@@@@@ 0123456789", b"out @@@@@@ abcdefghijklm"
_IN_CHUNKS = _chunks(b"in @@@@@@", b" 0123456789ab", trailer=b"X-Sum: @@@@@@")
_OUT_CHUNKS = _chunks(b"out @@@@@@", b" abcdefghijklmnopq", trailer=b"X-Sum: @@@@@@")
_EVENTS = b"data: @@@@@@ one\n\ndata: @@@@@@ two\n\n"
_BIG_IN, _BIG_OUT = (b"%b @@@@@@ " % way + b"0123456789abcdef" * 18_750 for way in (b"in", b"out"))
_KEY = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13")
_FRAME_IN = b"\x82\x8f\0\0\0\0ping in @@@@@@!"  # Masked with zeros, so that it can be read here.
_FRAME_OUT = b"\x82\x10pong out @@@@@@!"

KIB_128 = 128 * 1024


def _edges(*heads: int) -> tuple[int, ...]:
    """About 60 points around the ends of heads, of 128 KiB and of the whole, and between them."""
    near = [at + off for head in heads for at in (head, head + KIB_128) for off in (-2, -1, 0, 1, 2)]
    ends = [
        head + len(body) + off for head, body in zip(heads, (_BIG_IN, _BIG_OUT), strict=True) for off in (-2, -1, 0)
    ]
    return tuple(sorted({0, 1, *near, *ends, *range(5_000, 300_000, 9_000)}))


_BIG_ASK, _BIG_SAY = _ask(_length(_BIG_IN)), _say(_length(_BIG_OUT))

SIZED: Final = Sample("sized", _ask(_length(_IN)), _IN, _say(_length(_OUT)), _OUT)
SAMPLES: Final = (
    SIZED,
    Sample("chunked", _ask("Transfer-Encoding: chunked"), _IN_CHUNKS, _say("Transfer-Encoding: chunked"), _OUT_CHUNKS),
    Sample("events", _ask(_length(_IN)), _IN, _say("Content-Type: text/event-stream"), _EVENTS),
    Sample(
        "events to HTTP/1.0", _ask(_length(_IN), version="1.0"), _IN, _say("Content-Type: text/event-stream"), _EVENTS
    ),
    Sample(
        "websocket",
        _ask(*_KEY, "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==", method="GET"),
        _FRAME_IN,
        _say("Connection: Upgrade", "Upgrade: websocket", status="101 Switching Protocols"),
        _FRAME_OUT,
        waits=101,
        tunnel=True,
    ),
    Sample("continue", _ask(_length(_IN), "Expect: 100-continue"), _IN, _say(_length(_OUT)), _OUT, waits=100),
    Sample("kept", _ask(_length(_IN)), _IN, _say(_length(_OUT)), _OUT, reused=True),
    Sample("big", _BIG_ASK, _BIG_IN, _BIG_SAY, _BIG_OUT, points=_edges(len(_BIG_ASK), len(_BIG_SAY))),
)

_VAST_IN, _VAST_OUT = (b"%b @@@@@@ " % way + b"0123456789abcdef" * (1 << 20) for way in (b"in", b"out"))
VAST_IN: Final = Sample("vast body", _ask(_length(_VAST_IN)), _VAST_IN, _say(_length(_OUT)), _OUT)
"""Its body is more than all buffers on the way to the runner hold."""
VAST_OUT: Final = Sample("vast answer", _ask(_length(_IN)), _IN, _say(_length(_VAST_OUT)), _VAST_OUT)
"""Its answer is more than all buffers on the way back hold."""
