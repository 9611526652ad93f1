"""Whether what orchd made of an exchange is what its two ends meant.

Knows of orchd what its README promises: routes, what of the headers goes on, how a refusal looks.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from tests.wire.meaning import Meaning, read_answers
from tests.wire.recorder import Seen
from tests.wire.rfc9112 import Fields, Incomplete, Malformed, Message

HOPS = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding "
    b"upgrade".split()
)
# What each connection has for itself; of these a message that orchd sends may have its own.
OF_THE_CONNECTION = frozenset({b"connection", b"transfer-encoding", b"content-length", b"trailer", b"upgrade"})
# What a runner may do, so that no answer is refused for it (RFC 9112, section 6.3).
NOT_DOUBTED = frozenset({"Content-Length more than once"})
# What no trailer may be: of an answer, and of a request.
FRAMING = (HOPS - {b"trailer"}) | {b"content-length"}
NO_TRAILERS = FRAMING | frozenset(
    b"host authorization expect content-type content-encoding content-range max-forwards "
    b"cache-control set-cookie livepeer livepeer-payment livepeer_payment".split()
)
# What orchd may say as it was said to it; all else that it sends must be beyond doubt.
PASSED_ON = frozenset(
    {
        "byte that a URI must not have",
        "control byte in a value",
        "long head",
        "long trailers",
        "unknown class of status",
        "unusual method",
    }
)
MODELS = frozenset({(b"wire", b"one"), (b"pair", b"a"), (b"pair", b"b")})
REFUSALS = {400: b"bad_request", 431: b"header_too_large"}


@dataclass(frozen=True)
class Received:
    """What a caller got.

    Attributes:
        ended: closed, or reset; empty = neither, in all the time that it waited.
    """

    data: bytes
    ended: str


def routed(request: Message) -> bytes | None:
    """Return the target that the runner is to get; None = the request is for no model."""
    target = re.sub(rb"\A[A-Za-z][A-Za-z0-9+.\-]*://[^/?#]*", b"", request.target)
    target = target if target.startswith(b"/") else b"/" + target
    path = target.partition(b"?")[0]
    if path.startswith(b"/models/"):
        _, _, pipeline, model, *rest = (path + b"/").split(b"/", 4)
        at = len(b"/models/%b/%b" % (pipeline, model))
        own = target[at:] if rest and rest[0] else b"/" + target[at:]
        return own if (pipeline, model) in MODELS else None
    if request.method == b"POST" and (path == b"/wire" or (path == b"/pair" and request.body)):
        return b"/echo" + target[len(path) :]
    return None


def named(message: Message) -> frozenset[bytes]:
    """Return the headers that are of this connection because `Connection` names them."""
    return frozenset(message.listed(b"connection"))


def _secret(name: bytes) -> bool:
    return plain(name) in (b"authorization", b"livepeer") or plain(name).startswith(b"livepeer-")


def plain(name: bytes) -> bytes:
    """As servers read it that make variables of header names."""
    return name.lower().replace(b"_", b"-")


def for_the_runner(request: Message) -> list[tuple[bytes, bytes]]:
    gone = (HOPS - {b"trailer"}) | {b"host", b"expect", b"content-length"}
    named_too = named(request) | {b"trailer"}
    return [
        (name, value)
        for name, value in request.fields
        if plain(name) not in gone and name.lower() not in named_too and not _secret(name)
    ]


def for_the_caller(answer: Message) -> list[tuple[bytes, bytes]]:
    gone = (HOPS - {b"trailer"}) | {b"content-length", b"livepeer-request-id"}
    named_too = named(answer) | {b"trailer"}
    return [(name, value) for name, value in answer.fields if plain(name) not in gone and name.lower() not in named_too]


def without(fields: Fields, gone: frozenset[bytes]) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in fields if name.lower() not in gone]


def same_trailers(sent: Message, got: Message) -> None:
    """Harmless trailers all go on; those that would change how the message is read never do."""
    own = [(n, v) for n, v in sent.trailers if n.lower().startswith(b"x-") and n.lower() not in named(sent)]
    assert [(n, v) for n, v in got.trailers if n.lower().startswith(b"x-")] == own, "other trailers"
    never = NO_TRAILERS if sent.method else FRAMING
    assert not {plain(name) for name, _ in got.trailers} & never, "a trailer that must not go on"


def same_request(meant: Message, got: Message, host: bytes) -> None:
    assert (got.method, got.target) == (meant.method, routed(meant))
    assert got.body == meant.body, "another body"
    assert without(got.fields, OF_THE_CONNECTION | {b"host"}) == for_the_runner(meant), "other headers"
    assert got.values(b"host") == [host]
    switches = bool(got.values(b"upgrade"))
    assert set(got.listed(b"connection")) <= ({b"upgrade"} if switches else {b"close", b"keep-alive"})
    if switches:
        assert (meant.method, meant.body, meant.version) == (b"GET", b"", b"1.1"), "an upgrade out of nothing"
        assert got.listed(b"upgrade") == [b"websocket"] == meant.listed(b"upgrade")
        assert b"upgrade" in named(meant)
    assert got.doubts <= PASSED_ON, "the runner can't be sure how this is meant"
    same_trailers(meant, got)


def refused(answer: Message, statuses: frozenset[int] = frozenset(REFUSALS)) -> None:
    assert answer.status in statuses, f"status {answer.status}"
    code = answer.values(b"livepeer-error")
    assert not answer.body or [json.loads(answer.body)["error"].encode()] == code
    if statuses == frozenset(REFUSALS):
        assert code == [REFUSALS[answer.status]]


def judge_request(meant: Meaning, received: Received, seen: Seen, host: bytes) -> None:
    """Raises:
    AssertionError: orchd did not what the caller meant, and did not refuse it either.
    """
    fault = meant.fault
    methods = [message.method for message in meant.messages]
    got = read_answers(received.data, [*methods, b""], closed=received.ended == "closed")
    assert got.fault is None, f"the caller can't read its answer: {got.fault!r}"
    assert not got.rest, "bytes behind the last answer"
    assert received.ended == "closed" or (received.ended and isinstance(fault, Incomplete)), received.ended or "hangs"
    answers, came = list(got.messages), list(seen.requests)
    for answer in answers:
        assert answer.doubts <= PASSED_ON, "the caller can't be sure how its answer is meant"
    for request in meant.messages:
        if isinstance(fault, Incomplete) and not answers:
            break
        assert answers, f"no answer to {request.method!r} {request.target[:80]!r}"
        answer = answers.pop(0)
        if request.doubts and answer.values(b"livepeer-error"):
            refused(answer, frozenset({400, 404, 417, 431, 501, 505}))
            if not answers:
                assert not came, "refused, but the runner has it"
                return
        elif routed(request) is None:
            refused(answer, frozenset({400, 404}))
        else:
            assert came, f"refused, or never sent: {answer.status}, {answer.body[:200]!r}"
            same_request(request, came[0], host)
            assert (answer.status, answer.values(b"x-for")) == (200, [came.pop(0).target]), "the answer to another"
    assert not came, f"the runner was sent what nobody meant: {came[0].method!r} {came[0].target!r}"
    if isinstance(fault, Malformed):
        assert answers, "no refusal"
        refused(answers.pop(0))
        assert not fault.head or not seen.pieces, "some of a malformed request reached the runner"
    elif isinstance(fault, Incomplete) and answers:
        refused(answers.pop(0), frozenset({400, 404, 408, 413, 417, 431}))
    assert not answers, f"an answer to nothing: {answers[0].status}"
    assert isinstance(fault, (Malformed, Incomplete)) or not seen.pieces, "a piece of a request"


def judge_answer(asked: list[Message], raw: bytes, *, closes: bool, received: Received, seen: Seen) -> None:
    """Whether the caller of two requests, the first of which is answered with `raw`, got what the runner meant.

    Raises:
        AssertionError.
    """
    targets = [request.target for request in seen.requests]
    assert targets == [routed(request) for request in asked][: len(targets) or 1], f"the runner was asked for {targets}"
    methods = [request.method for request in asked]
    got = read_answers(received.data, methods, closed=received.ended == "closed")
    meant = read_answers(raw, methods[:1], closed=closes)
    answer = meant.messages[0] if meant.messages and meant.messages[0].status != 101 else None
    if not _bad_gateway(got):
        if not got.messages:
            assert answer is None or answer.doubts, f"no answer, but {got.fault!r}"
            assert answer is not None or (meant.fault is not None and not meant.fault.head), "the head was no answer"
            assert isinstance(got.fault, Incomplete)
            assert received.ended, "hangs"
            return
        assert answer is not None, "a broken answer looks whole"
        same_answer(answer, got.messages[0], got.interim[0], meant.interim[0], asked[0])
    else:
        assert answer is None or answer.doubts - NOT_DOUBTED, "502 for a good answer"
    assert received.ended == "closed", received.ended or "hangs"
    assert got.fault is None, f"the caller can't read what follows: {got.fault!r}"
    assert not got.rest, "bytes behind the last answer"
    if asked[0].persists:
        assert len(got.messages) == 2, "nothing follows"
        follower = got.messages[1]
        assert (follower.status, follower.values(b"x-for")) == (200, [routed(asked[1])]), "the answer to another"


def _bad_gateway(got: Meaning) -> bool:
    if not got.messages or got.messages[0].values(b"livepeer-error") != [b"backend_broke"]:
        return False
    refused(got.messages[0], frozenset({502}))
    return True


def same_answer(
    answer: Message,
    theirs: Message,
    their_interim: tuple[Message, ...],
    interim: tuple[Message, ...],
    asked: Message,
) -> None:
    assert (theirs.status, theirs.body) == (answer.status, answer.body)
    ours = OF_THE_CONNECTION | {b"livepeer-request-id"} | (frozenset() if answer.values(b"date") else {b"date"})
    assert without(theirs.fields, ours) == for_the_caller(answer), "other headers"
    assert len(theirs.values(b"livepeer-request-id")) == 1
    assert set(theirs.listed(b"connection")) <= {b"close", b"keep-alive"}
    assert not theirs.values(b"upgrade")
    assert theirs.doubts <= PASSED_ON, "the caller can't be sure how this is meant"
    if answer.framing == "sized" and not answer.doubts:
        assert [int(length) for length in theirs.values(b"content-length")] == [len(answer.body)]
    if answer.framing == "none" and answer.status != 204 and not answer.doubts:
        assert [int(n) for n in theirs.values(b"content-length")] == [int(n) for n in answer.values(b"content-length")]
    if asked.version == b"1.1":
        same_trailers(answer, theirs)
        passed = [message for message in interim if message.status != 100]
        assert [(m.status, m.fields) for m in their_interim] == [
            (m.status, tuple(for_the_caller(m))) for m in passed
        ], "other interim answers"
    else:
        assert not their_interim, "HTTP/1.0 knows no interim answers"
        assert theirs.framing != "chunked"
