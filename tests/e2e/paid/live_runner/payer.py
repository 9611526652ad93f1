"""Who talks to an orchd as Live Runner's clients do, one request at a time, and signs its payments itself.

What it sends is right, or wrong on purpose: each part of a payment can be replaced.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any
from urllib.parse import urlsplit

from orchd.tickets.validation.messages import AuthToken, OrchestratorInfo, PaymentMessage, QuotedPrice, SegmentMessage
from orchd.tickets.validation.payment import read_terms
from orchd.tickets.validation.signatures import keccak256, u256
from orchd.tickets.validation.tickets import TicketTerms
from orchd.tickets.validation.wire import decode, encode
from tests.doubles.shared import caller
from tests.doubles.shared.caller import Answer
from tests.tickets.validation.sender import Signer, checksummed

NOTHING = keccak256(b"")
"""What segments say of their content."""


@dataclass(frozen=True)
class Offered:
    """A challenge, read.

    Attributes:
        manifest: the session that it is for.
        payment_path: where top-ups go.
    """

    manifest: str
    payment_path: str
    info: OrchestratorInfo

    @property
    def terms(self) -> TicketTerms:
        assert self.info.ticket_params is not None
        return read_terms(self.info.ticket_params, None)

    @property
    def auth(self) -> AuthToken:
        assert self.info.auth_token is not None
        return self.info.auth_token

    @property
    def price(self) -> QuotedPrice:
        assert self.info.price_info is not None
        return self.info.price_info

    def tickets_for(self, units: int) -> int:
        """Return how many tickets cover so many units of the price."""
        return int(-(-units * self.price.price_per_unit // self.terms.expected_value))


def read_offer(answer: Answer) -> Offered:
    """Return the challenge in an answer, which must be whole."""
    said = json.loads(answer.text)
    assert answer.header("Content-Type") == "application/json"
    assert said.keys() == {"payment_params", "orchestrator", "manifest_id", "payment_url"}, said
    info = decode(OrchestratorInfo, base64.b64decode(said["payment_params"], validate=True))
    return Offered(said["manifest_id"], urlsplit(said["payment_url"]).path, info)


@dataclass(frozen=True)
class Paying:
    """A payment, whose parts may be replaced.

    Attributes:
        header: its value, if it is not to be that of `payment`.
    """

    payment: PaymentMessage
    segment: SegmentMessage
    header: str = ""

    @property
    def headers(self) -> dict[str, str]:
        paid = self.header or base64.b64encode(encode(self.payment)).decode()
        return {"Livepeer-Payment": paid, "Livepeer-Segment": base64.b64encode(encode(self.segment)).decode()}

    def changed(self, **fields: Any) -> Paying:
        """Return it with other fields of the payment."""
        return replace(self, payment=replace(self.payment, **fields))

    def with_terms(self, **fields: Any) -> Paying:
        """Return it with other fields of its terms."""
        assert self.payment.ticket_params is not None
        return self.changed(ticket_params=replace(self.payment.ticket_params, **fields))

    def with_segment(self, **fields: Any) -> Paying:
        """Return it with other fields of the segment."""
        return replace(self, segment=replace(self.segment, **fields))


@dataclass(frozen=True)
class Payer:
    """An account, and one orchd that it talks to.

    Attributes:
        url: of orchd's public listener.
    """

    account: Signer
    url: str

    @property
    def address(self) -> str:
        return checksummed(self.account.address)

    async def call(
        self, path: str, headers: Mapping[str, str] | None = None, body: str = "{}", method: str = "POST"
    ) -> Answer:
        """Send one request."""
        said = {"Content-Type": "application/json"} if body else {}
        return await caller.call(self.url, method, path, {**said, **(headers or {})}, body)

    async def ask(self, path: str) -> Answer:
        """Ask for a session or a job, without a payment."""
        return await self.call(path, {"Livepeer-Payer-Address": self.address})

    async def offer(self, path: str) -> Offered:
        """Return the challenge that such a request gets."""
        answer = await self.ask(path)
        assert answer.status == 402, answer.text
        return read_offer(answer)

    def pay(self, offered: Offered, nonces: Sequence[int], *, manifest: str = "") -> Paying:
        """Return a payment with these tickets.

        Args:
            manifest: of another session than the offer's.
        """
        named = (manifest or offered.manifest).encode()
        digest = keccak256(named + u256(0) + NOTHING)
        price = offered.price
        payment = replace(
            self.account.payment(offered.terms, nonces, Fraction(price.price_per_unit, price.pixels_per_unit)),
            expected_price=price,
        )
        segment = SegmentMessage(
            manifest_id=named, hash=NOTHING, sig=self.account.sign(digest), auth_token=offered.auth
        )
        return Paying(payment, segment)

    async def send(self, path: str, paying: Paying, **more: str) -> Answer:
        """Send a request for a session or a job with a payment; `more`: headers."""
        return await self.call(path, {"Livepeer-Payer-Address": self.address, **paying.headers, **more})

    async def top_up(self, offered: Offered, paying: Paying) -> Answer:
        """Pay on, where the offer says."""
        return await self.call(offered.payment_path, paying.headers, body="")

    async def refresh(self, manifest: str) -> Answer:
        """Ask for new terms, at the root as the SDK does."""
        return await self.call("/refresh-payment", body=json.dumps({"sender": self.address, "manifest_id": manifest}))

    async def begin_free(self, path: str) -> str:
        """Reserve a session that costs nothing, and return the path of its container."""
        answer = await self.ask(path)
        assert answer.status == 200, answer.text
        return urlsplit(str(json.loads(answer.text)["app_url"])).path

    async def begin(self, path: str, seconds: int = 10) -> Begun:
        """Reserve a session that so many seconds (units of its price) are paid for."""
        offered = await self.offer(path)
        count = offered.tickets_for(seconds)
        answer = await self.send(path, self.pay(offered, range(1, count + 1)))
        assert answer.status == 200, answer.text
        said = json.loads(answer.text)
        assert said.keys() >= {"session_id", "app_url", "control_url"}
        assert said["session_id"] == offered.manifest
        return Begun(self, offered, urlsplit(said["app_url"]).path, urlsplit(said["control_url"]).path, count)


@dataclass
class Begun:
    """A session that has begun.

    Attributes:
        paid: how many tickets of its first terms are used; their nonces count from 1.
    """

    payer: Payer
    offered: Offered
    app_path: str
    control_path: str
    paid: int

    async def app(self, path: str = "/echo", **headers: str) -> Answer:
        """Send a request to the container."""
        return await self.payer.call(self.app_path + path, headers)

    async def top_up(self, tickets: int = 1) -> Answer:
        """Pay for more with the next tickets."""
        first = self.paid + 1
        self.paid += tickets
        return await self.payer.top_up(self.offered, self.payer.pay(self.offered, range(first, first + tickets)))

    async def stop(self) -> Answer:
        return await self.payer.call(f"{self.control_path}/stop", body="")
