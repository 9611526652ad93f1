"""However the bytes of an exchange are cut on their way, the result is that of the uncut ones."""

from __future__ import annotations

import contextlib
import queue
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from orchd.http1.parser import STEPS, AnswerParser, RequestParser
from tests.blackbox.conftest import Server, until
from tests.blackbox.wire import Wire
from tests.soak import examples
from tests.wire import corpus, corpus_answers
from tests.wire.case import MARKER, Case
from tests.wire.corpus_answers import AnswerCase
from tests.wire.exchange import exchange, receive, send
from tests.wire.judge import Received, judge_answer, judge_request
from tests.wire.meaning import Meaning, read_answers
from tests.wire.recorder import Recorder, Script
from tests.wire.rfc9112 import MAX_HEAD_BYTES, Incomplete
from tests.wire.test_differential import numbers

REQUESTS = corpus.made()
ANSWERS = corpus_answers.made()
LONG, NEAR = 1500, 60  # Bytes; of longer streams not each cut is tried, but those so near to the ends, and a few more.

PARTS = st.integers(1, 120) | st.integers(1, 100_000)
Result = Any
Parse = Callable[[Iterable[bytes]], Result]


def parsed(parser: RequestParser | AnswerParser, pieces: Iterable[bytes]) -> Result:
    """Feed a parser as a connection does: with new steps, and without the messages that are done with."""
    whole: list[Any] = []
    for piece in pieces:
        parser.feed(piece)
        known = -1
        while known != (known := len(whole) - sum(map(len, parser.held))):
            parser.steps = STEPS
            while parser.messages and parser.messages[0].ended and not parser.switched:
                whole.append(parser.messages.popleft())
            parser.go_on()
    messages = []
    for message in [*whole, *parser.messages]:
        head = message.head
        named = {name: getattr(head, name) for name in type(head).__slots__ if name != "memo"}
        messages.append((named, message.ended, b"".join(message.pieces), list(message.trailers)))
    broken = parser.broken and (parser.broken.status, parser.broken.why)
    rest = parser.take_held()
    parser.close()
    surplus = parser.surplus and isinstance(parser, AnswerParser) and broken is None
    return messages, broken, (rest, surplus)


def as_requests(pieces: Iterable[bytes]) -> Result:
    return parsed(RequestParser(MAX_HEAD_BYTES), pieces)


def as_answers(method: bytes) -> Parse:
    def parse(pieces: Iterable[bytes]) -> Result:
        parser = AnswerParser(4 * MAX_HEAD_BYTES)
        parser.expect(method)
        return parsed(parser, pieces)

    return parse


@cache
def streams() -> list[tuple[str, bytes, Parse]]:
    """Return each stream of the corpus once, and how it is parsed."""
    found: dict[tuple[bytes, bytes], tuple[str, bytes, Parse]] = {}
    for case in REQUESTS:
        found[case.stream(7), b""] = case.name, case.stream(7), as_requests
    for answer in ANSWERS:
        method = b"HEAD" if answer.asks.startswith(b"HEAD") else b"GET"
        found[answer.answer(7), method] = answer.name, answer.answer(7), as_answers(method)
    return list(found.values())


OF_MARKER = MARKER.partition(b"\r\n")[2]  # No cut in there tells more than the same cut in a case.


def cuts(stream: bytes) -> Sequence[int]:
    size = len(stream.removesuffix(OF_MARKER))
    if size <= LONG:
        return range(1, size)
    return [*range(1, NEAR), *range(NEAR, size - NEAR, size // 10), *range(size - NEAR, size)]


def test_any_one_cut_gives_what_no_cut_gives() -> None:
    wrong = []
    for name, stream, parse in streams():
        whole = parse([stream])
        at = next((at for at in cuts(stream) if parse([stream[:at], stream[at:]]) != whole), None)
        if at is not None:
            wrong.append(f"{name} at {at}: {parse([stream[:at], stream[at:]])!r:.300}\n    uncut {whole!r:.300}")
    if wrong:
        pytest.fail(f"{len(wrong)} of {len(streams())}:\n" + "\n".join(wrong[:40]), pytrace=False)


def test_a_cut_behind_each_byte_gives_what_no_cut_gives() -> None:
    wrong = []
    for name, stream, parse in streams():
        if len(stream) <= 4 * LONG and parse(bytes([byte]) for byte in stream) != parse([stream]):
            wrong.append(name)
    if wrong:
        pytest.fail(f"{len(wrong)}:\n" + "\n".join(wrong[:40]), pytrace=False)


@settings(max_examples=examples(1200))
@given(st.deferred(lambda: st.sampled_from(streams())), st.data())
def test_any_cuts_give_what_no_cut_gives(case: tuple[str, bytes, Parse], data: st.DataObject) -> None:
    _, stream, parse = case
    at = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    pieces = [stream[a:b] for a, b in zip([0, *at], [*at, len(stream)], strict=True)]
    assert parse(pieces) == parse([stream])


def test_the_parser_is_asked_about_something() -> None:
    """What the tests above compare is not always nothing."""
    results = [parse([stream]) for _, stream, parse in streams()]
    assert sum(len(messages) >= 2 for messages, _, _ in results) > 300
    assert sum(broken is not None for _, broken, _ in results) > 300
    assert sum(any(trailers for *_, trailers in messages) for messages, _, _ in results) > 20


# The same against a running orchd.


def alone(case: AnswerCase) -> bool:
    """Whether nothing follows the answer: what comes later than it may meet the next request, whoever relays."""
    found = read_answers(case.answer(7), [case.asks.partition(b" ")[0]], closed=case.closes)
    return found.fault is not None or not found.rest


WHOLE_REQUESTS = st.deferred(
    lambda: st.sampled_from([case for case in REQUESTS if not isinstance(case.meant(7).fault, Incomplete)])
)
ANSWERS_ALONE = st.deferred(lambda: st.sampled_from([case for case in ANSWERS if alone(case)]))


def summary(received: Received, case: Case | AnswerCase, number: int) -> Result:
    """What the caller got, without what differs each time. An answer that breaks off is as good as a 502."""
    methods = [message.method for message in case.meant(number).messages]
    got = read_answers(received.data, [*methods, b""], closed=received.ended == "closed")
    mine = {b"date", b"livepeer-request-id"}
    tag = b"%06d" % number
    messages = [
        (
            message.status,
            [(n, v.replace(tag, b"")) for n, v in message.fields if n.lower() not in mine],
            message.body.replace(tag, b"") if message.status < 400 else b"",
            message.trailers,
        )
        for message in got.messages
    ]
    if isinstance(case, AnswerCase) and (not messages or messages[0][0] == 502):
        return "broken"
    return messages, got.rest, received.ended


@dataclass
class Line:
    """A caller's connection that is under way.

    Attributes:
        left: what is not yet sent.
        sent: orchd still took what was.
    """

    case: Case | AnswerCase
    number: int
    wire: Wire
    left: bytes
    parts: queue.SimpleQueue[int | None]
    sent: bool = True


class Cut(RuleBasedStateMachine):
    """Sends the parts of some exchanges, in any order among them; the runner answers in parts, when it is told to."""

    orchd: Server
    recorder: Recorder
    uncut: dict[str, Result]

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[Line] = []

    def begin(self, case: Case | AnswerCase, number: int, parts: queue.SimpleQueue[int | None] | None) -> bytes:
        if isinstance(case, AnswerCase):
            self.recorder.script(number, Script(case.answer(number), close=case.closes, parts=parts))
        else:
            self.recorder.script(number, Script(parts=parts))
        return case.stream(number)

    @precondition(lambda self: len(self.lines) < 3)
    @rule(case=WHOLE_REQUESTS)
    def open_request(self, case: Case) -> None:
        self._open(case)

    @precondition(lambda self: len(self.lines) < 3)
    @rule(case=ANSWERS_ALONE)
    def open_answer(self, case: AnswerCase) -> None:
        self._open(case)

    def _open(self, case: Case | AnswerCase) -> None:
        number = next(numbers)
        parts: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self.lines.append(Line(case, number, Wire(self.orchd.port), self.begin(case, number, parts), parts))

    @precondition(lambda self: self.lines)
    @rule(data=st.data(), size=PARTS)
    def send_part(self, data: st.DataObject, size: int) -> None:
        line = data.draw(st.sampled_from(self.lines))
        piece, line.left = line.left[:size], line.left[size:]
        line.sent = line.sent and send(line.wire, piece)

    @precondition(lambda self: self.lines)
    @rule(data=st.data(), size=PARTS)
    def answer_part(self, data: st.DataObject, size: int) -> None:
        data.draw(st.sampled_from(self.lines)).parts.put(size)

    @precondition(lambda self: self.lines)
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        self._finish(data.draw(st.sampled_from(self.lines)))

    def teardown(self) -> None:
        with contextlib.ExitStack() as stack:
            for line in list(self.lines):
                stack.callback(self._finish, line)

    def _finish(self, line: Line) -> None:
        self.lines.remove(line)
        case, number = line.case, line.number
        meant = case.meant(number)
        with line.wire:
            line.parts.put(None)
            received = receive(line.wire, meant, sent=line.sent and send(line.wire, line.left))
        try:
            self._judge(case, number, meant, received)
        except AssertionError as exc:
            raise AssertionError(f"{case.name}: {exc}; got {received.data[:300]!r}, {received.ended}") from None

    def _judge(self, case: Case | AnswerCase, number: int, meant: Meaning, received: Received) -> None:
        seen = self.recorder.seen(number)
        if isinstance(case, AnswerCase):
            judge_answer(list(meant.messages), case.answer(number), closes=case.closes, received=received, seen=seen)
        else:
            judge_request(meant, received, seen, self.recorder.host)
        assert summary(received, case, number) == self._uncut(case), "other than uncut"

    def _uncut(self, case: Case | AnswerCase) -> Result:
        key = f"{type(case).__name__} {case.name}"
        if key not in self.uncut:
            number = next(numbers)
            stream = self.begin(case, number, None)
            self.uncut[key] = summary(exchange(self.orchd.port, stream, case.meant(number)), case, number)
        return self.uncut[key]


def test_any_cuts_on_the_way_through_orchd_change_nothing(orchd: Server, recorder: Recorder) -> None:
    Cut.orchd, Cut.recorder, Cut.uncut = orchd, recorder, {}
    bounded = settings(max_examples=examples(240), stateful_step_count=40, suppress_health_check=list(HealthCheck))
    run_state_machine_as_test(Cut, settings=bounded)
    assert len(Cut.uncut) > 50
    until(lambda: orchd.sessions() == 0, "all slots back")
