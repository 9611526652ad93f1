"""The door by which BYOC's gateways come to orchd itself, and pay with tickets. Pure.

Source: docs/protocol/byoc.md, 3 and 5. What go-livepeer gets wrong there is not copied: a bad payment is answered, not
hung up on; every slot that a job holds is free afterwards; and no more jobs run than there are slots.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import partial
from typing import ClassVar

from orchd.domain.ids import Address
from orchd.domain.model import Model
from orchd.domain.origins import Origin
from orchd.doors.base import AnswerShape, Door
from orchd.doors.node_paths import names_capability, on_runner, on_stream_route
from orchd.doors.own import OwnAnswer
from orchd.doors.public_byoc.answers import balance_lines, shape
from orchd.doors.public_byoc.events import PaidEvents
from orchd.doors.public_byoc.tokens import TokenDesk
from orchd.doors.routes import Route, Served, ToRunner, origin_form
from orchd.errors import Code, JobRefused
from orchd.hooks.receipt import Receipt
from orchd.hooks.refusal import Refusal
from orchd.http1.names import Memo
from orchd.http1.rules import AnswerHead, RequestHead
from orchd.realtime.routes import StreamCall
from orchd.relay.ports import EventStream
from orchd.tickets.validation.credentials import read_job

TOKEN, REQUEST, STREAMS = "/process/token", "/process/request", "/ai/stream"
TO_RUNNER = frozenset({b"accept", b"content-encoding", b"content-type", b"user-agent"})
"""What a runner gets of a gateway's headers; go-livepeer passes on the type alone (byoc.md, 5.3)."""


class PublicByocDoor(Door):
    """The header `Livepeer` names the capability, the payer and how long it waits.

    Args:
        tokens: tells payers their terms.
    """

    name: ClassVar[str] = "public-byoc"
    origin: ClassVar[Origin] = Origin.BYOC
    public: ClassVar[bool] = True
    compares_paths: ClassVar[bool] = True
    passing: ClassVar[Memo[bytes, bool]] = Memo(lambda name: name.lower() in TO_RUNNER)

    def __init__(self, tokens: TokenDesk) -> None:
        self._tokens = tokens

    def takes(self, path: str) -> bool:
        """Tokens, jobs, and the calls about streams, which are refused."""
        return path == TOKEN or any(path == folder or path.startswith(f"{folder}/") for folder in (REQUEST, STREAMS))

    def route(self, head: RequestHead, target: str, served: Served) -> Route:
        """By the capability that the header names."""
        path, mark, query = origin_form(target).partition("?")
        if path == TOKEN:
            _check_method(head, b"GET")
            return OwnAnswer("token", partial(self._tokens.answer, served))
        if not (path == REQUEST or path.startswith(f"{REQUEST}/")):
            raise Refusal(
                503,
                "cannot start a stream here: streams need channels, which this orchd does not serve; use another "
                "orchestrator",
                code=Code.CHANNELS_UNAVAILABLE,
                reason="streams_need_channels",
            )
        _check_method(head, b"POST")
        with self._tokens.refusing():
            job = read_job(head.value(b"livepeer") or b"")
        key = served.named(job.capability)
        if key is None:
            raise JobRefused(
                Code.NOT_OFFERED, f"cannot serve {job.capability[:60]!r}: nothing of that name is sold here now"
            )
        model = served.models[key]
        rest = path.removeprefix(REQUEST).removeprefix("/")
        rest = "" if names_capability(rest, job.capability) else rest
        return ToRunner(key, on_runner(rest, model) + mark + query, begins_within_s=job.timeout_s)

    def refuses(
        self, call: StreamCall | None, path: str, model: Model, head: RequestHead, bases: Sequence[str]
    ) -> tuple[Code, str] | None:
        """No stream begins here."""
        if on_stream_route(call, path, model, head, bases):
            return (Code.STREAM_ROUTE, f"cannot send a job of {model.key} to a route of its streams")
        return None

    def shape(self, answer: AnswerHead, request: RequestHead, way: ToRunner, address: Address) -> AnswerShape:
        """See `answers`."""
        return shape(answer, request, way.key)

    def lines(self, receipt: Receipt | None) -> bytes:
        """What the payer has left."""
        return balance_lines(_left(receipt)())

    def events(self, receipt: Receipt | None) -> EventStream:
        """See `events`."""
        return PaidEvents(_left(receipt))


def _left(receipt: Receipt | None) -> Callable[[], Fraction]:
    return Fraction if receipt is None else receipt.left


def _check_method(head: RequestHead, method: bytes) -> None:
    if head.method != method:
        word = method.decode()
        raise Refusal(
            405,
            f"cannot serve the request: its method must be {word}",
            headers=[("Allow", word)],
            code=Code.BAD_REQUEST,
        )
