"""The BYOC registry: capabilities, their counters, the prices that outlive them. Routes: `byoc_*`, `token`.

Source: byoc.md 2, 5.2.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

from aiohttp import web

from orchd.tasks import cancel
from tests.doubles.golivepeer import byoc_creds
from tests.doubles.golivepeer.byoc_creds import BadCreds, Job
from tests.doubles.golivepeer.chain import ChainRefusal
from tests.doubles.shared import go_json
from tests.doubles.shared.go_client import GoClient
from tests.doubles.shared.go_http import Dropped, text_error

if TYPE_CHECKING:
    from tests.doubles.golivepeer.byoc_streams import Stream
    from tests.doubles.golivepeer.node import Node

# Seconds of compute that the credit must cover for a job to begin.
NEEDED_S = 60


@dataclass
class Capability:
    name: str
    description: str
    url: str
    capacity: int
    load: int
    """Jobs in flight, as the node counts them: leaks and negative values included."""
    price: Fraction
    """Wei per second, converted once, at registration."""
    currency: str
    token: str

    @property
    def free(self) -> int:
        return max(0, self.capacity - self.load)


class Refused(Exception):
    """A job or stream request ends here; `answer` says how."""

    def __init__(self, answer: web.Response) -> None:
        super().__init__(answer.status)
        self.answer = answer


class Byoc:
    def __init__(self, node: Node) -> None:
        self.node = node
        self.capabilities: dict[str, Capability] = {}
        self.prices: dict[str, Fraction] = {}
        """Wei per second by name. Nothing but a restart forgets one."""
        self.registrations: Counter[str] = Counter()
        """Successful upserts by name."""
        self.unregistrations: Counter[str] = Counter()
        """Authorised unregister calls by the body's text."""
        self.streams: dict[str, Stream] = {}
        self.credit: dict[tuple[str, str], Fraction] = {}
        """Wei by lower-case sender and capability."""
        self.client = GoClient(node.clock)

    def routes(self) -> list[web.RouteDef]:
        # Not at the top: they import this module.
        from tests.doubles.golivepeer import byoc_jobs, byoc_register, byoc_streams, token

        return [
            *byoc_register.routes(self),
            *token.routes(self),
            *byoc_jobs.routes(self),
            *byoc_streams.routes(self),
        ]

    async def stop(self) -> None:
        await cancel(*(stream.monitor for stream in self.streams.values()))
        self.client.close()

    def reserve(self, name: str) -> bool:
        """Take a slot; only an unknown name refuses it, capacity never does."""
        if name not in self.capabilities:
            return False
        self.capabilities[name].load += 1
        return True

    def release(self, name: str) -> None:
        """Give a slot back by name: to whatever record bears it by now, and below 0 if need be."""
        if name in self.capabilities:
            self.capabilities[name].load -= 1

    def remove(self, name: str) -> None:
        self.capabilities.pop(name, None)

    def price(self, sender: str, name: str) -> int:
        """Return whole wei per second for `sender`. Raises ChainRefusal."""
        base = self.prices.get(name, Fraction(0))
        chain = self.node.settings.on_chain
        return 0 if chain is None else chain.price(sender, base)

    def balance(self, job: Job) -> str:
        """Return the sender's credit as the balance headers show it."""
        credit = self.credit.get((job.sender.lower(), job.capability), Fraction(0))
        return str(credit.numerator // credit.denominator)

    def charge(self, job: Job, units: int) -> Fraction:
        """Debit `units` seconds and return the credit left; below 0 it stays below 0."""
        try:
            price = self.price(job.sender, job.capability)
        except ChainRefusal:
            price = 0
        key = (job.sender.lower(), job.capability)
        left = self.credit.get(key, Fraction(0)) - price * units
        if price:
            self.credit[key] = left
        return left

    def check(self, request: web.Request, *, stream: bool = False, reserve: bool = True) -> Job:
        """Checks 1 to 8 of a job or stream request; on return a slot is taken if `reserve`.

        Raises:
            Refused: with the answer; what it leaves of the slot is the node's doing (byoc.md 5.2, 6.2).
            Dropped: the node's handler would panic.
        """
        chain = self.node.settings.on_chain
        try:
            job, signature = byoc_creds.job(request.headers.get("Livepeer", ""))
            if job.timeout_s == 0:
                message = "no timeout_seconds set with request, timeout_seconds is required"
                raise Refused(text_error(400, message))
            byoc_creds.check(job.request + job.parameters, signature, job.sender, chain)
        except BadCreds as error:
            raise Refused(text_error(400, "Could not verify job creds")) from error
        if reserve and not self.reserve(job.capability):
            raise Refused(text_error(400 if stream else 503, "No capacity available for capability"))
        try:
            price = self.price(job.sender, job.capability)
        except ChainRefusal as error:
            raise Refused(text_error(400, "Could not get job price")) from error
        if price > 0:
            self._pay(request, job, price, low_credit=402 if stream and reserve else 400)
        _check_details(job)
        return job

    def _pay(self, request: web.Request, job: Job, price: int, *, low_credit: int) -> None:
        chain = self.node.settings.on_chain
        assert chain is not None
        payment = request.headers.get("Livepeer-Payment", "")
        if payment:
            # The panic of an undecodable payment comes before anything that could release the slot.
            raw = byoc_creds.decoded(payment)
            if raw is None:
                raise Dropped
            try:
                worth = chain.accept(raw, job.sender)
            except ChainRefusal as error:
                self.release(job.capability)
                raise Dropped from error
            key = (job.sender.lower(), job.capability)
            self.credit[key] = self.credit.get(key, Fraction(0)) + worth
        if self.credit.get((job.sender.lower(), job.capability), Fraction(0)) < price * NEEDED_S:
            self.release(job.capability)
            raise Refused(text_error(low_credit, "Insufficient balance for request"))


def _check_details(job: Job) -> None:
    try:
        details = go_json.decode(job.request)
        if not isinstance(details, dict | None):
            what = f"{go_json.kind(details)} into Go value of type byoc.JobRequestDetails"
            raise go_json.GoJsonError(f"json: cannot unmarshal {what}")
        go_json.string(go_json.field(details or {}, "stream_id"), "JobRequestDetails.stream_id")
    except go_json.GoJsonError as error:
        raise Refused(text_error(400, f"Unable to unmarshal job request details err={error}")) from error
