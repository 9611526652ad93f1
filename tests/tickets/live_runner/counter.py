"""A counter where Live Runner's clients pay: desk and hook over a ledger, and sessions as the test says."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from orchd.domain.model import Model
from orchd.domain.money import Price, PriceUnit
from orchd.domain.outcomes import Outcome
from orchd.domain.sold import SoldSession
from orchd.exposition import MetricsRegistry
from orchd.hooks.account import Account
from orchd.hooks.job import Job
from orchd.hooks.refusal import Refusal
from orchd.hooks.terms import terms_of
from orchd.hooks.usage import Measured, usage_of
from orchd.threads import DaemonThreads
from orchd.tickets.ledger.ports import Ledger, LedgerKey
from orchd.tickets.live_runner.challenges import Challenges
from orchd.tickets.live_runner.charging import Charging
from orchd.tickets.live_runner.desk import Desk
from orchd.tickets.live_runner.jobs import LiveRunnerTickets
from orchd.tickets.live_runner.ports import Challenge
from orchd.tickets.live_runner.till import Till
from orchd.tickets.metrics import PaymentCollector
from orchd.tickets.payments import Payments, TicketRules
from orchd.tickets.prices import WorkPrice, quote
from orchd.tickets.validation.messages import OrchestratorInfo, PaymentMessage, SegmentMessage
from orchd.tickets.validation.payment import read_terms
from orchd.tickets.validation.schemes import LIVE_RUNNER
from orchd.tickets.validation.signatures import keccak256, u256
from orchd.tickets.validation.tickets import TicketTerms
from orchd.tickets.validation.wire import decode, encode
from tests.fakes.sold import FakeSold
from tests.jobs.model import KEY, a_model
from tests.tickets.ledger.kept import World, opened
from tests.tickets.till import FakeChain
from tests.tickets.validation.made import NOTHING, PAYER
from tests.tickets.validation.sender import Signer, header

SERVICE = "https://orch.example.com:8443/ai"
PRICE = 83_333_333_334
"""Wei a second: 0.90 USD an hour at 3,000 USD per ETH, rounded up."""
TICKET = 200_000_000_000
"""Wei: 2.4 s of it."""
LIVE = a_model(price=Price(Fraction(PRICE)), persistent=True, max_sessions=4)
FIXED = replace(LIVE, price=Price(Fraction(5 * TICKET), unit=PriceUnit.FIXED))
SLUG = KEY.slug


@dataclass(frozen=True)
class Offer:
    """A challenge as a client reads it."""

    challenge: Challenge
    info: OrchestratorInfo

    @property
    def manifest(self) -> str:
        return str(self.challenge["manifest_id"])

    @property
    def terms(self) -> TicketTerms:
        assert self.info.ticket_params is not None
        return read_terms(self.info.ticket_params, None)

    @property
    def price(self) -> Fraction:
        assert self.info.price_info is not None
        return Fraction(self.info.price_info.price_per_unit)

    def segment(self, payer: Signer = PAYER, manifest: str | None = None) -> SegmentMessage:
        """Return the credentials that a signer makes for it."""
        named = (manifest or self.manifest).encode()
        sig = payer.sign(keccak256(named + u256(0) + NOTHING))
        return SegmentMessage(named, 0, NOTHING, b"invalid", sig, self.info.auth_token)

    def payment(self, nonces: Sequence[int], payer: Signer = PAYER) -> PaymentMessage:
        """Return tickets on its terms."""
        return payer.payment(self.terms, nonces, self.price)


def offer_of(challenge: Mapping[str, Any]) -> Offer:
    return Offer(challenge, decode(OrchestratorInfo, base64.b64decode(challenge["payment_params"])))


def encoded(message: SegmentMessage) -> bytes:
    return base64.b64encode(encode(message))


@dataclass
class Asked:
    """As `live_runner.ports.DeskRequest`."""

    job: Job
    body: bytes = b""
    payers: list[str] = field(default_factory=list)

    def limit_payer(self, payer: str) -> None:
        self.payers.append(payer)


@dataclass
class Reserved:
    """A paid request that was admitted."""

    job: Job
    session: SoldSession
    account: Account


class Counter:
    """The counter. It asks the hook as the job server does: identify, a slot, admit; then charge, settle.

    Attributes:
        full: no slot is free.
    """

    def __init__(
        self, ledger: Ledger, *models: Model, rules: TicketRules | None = None, trusting: bool = False
    ) -> None:
        self.models = {model.key: model for model in models or (LIVE,)}
        self.model = (models or (LIVE,))[0]
        self.chain = FakeChain()
        self.ledger = ledger
        self.now = 1_790_000_000.0
        self.sold = FakeSold()
        self.counts = PaymentCollector(MetricsRegistry())
        payments = Payments(
            self.chain, ledger, rules or TicketRules(value=TICKET), self.counts, DaemonThreads("counter"), at_once=600
        )
        challenges = Challenges(payments, ledger, SERVICE, self.price, lambda: self.now)
        self.till = Till(
            payments, ledger, self.sold, challenges, Charging(ledger, self.sold, lambda: self.now), trusting
        )
        self.desk = Desk(self.till)
        self.hook = LiveRunnerTickets(self.till, self.models.get)
        self.full = False

    def price(self, model: Model, payer: str) -> WorkPrice:
        return quote(terms_of(self.models[model.key], payer))

    # What a client does.

    async def challenge(self, payer: Signer = PAYER) -> Offer:
        asked = Asked(self.job(payer=payer))
        return offer_of(await self.desk.challenge(asked, self.models[self.model.key]))

    async def reserve(
        self, offer: Offer, nonces: Sequence[int] = (1, 2, 3, 4, 5), payer: Signer = PAYER, **headers: bytes
    ) -> Reserved:
        """Pay for a session, and begin it.

        Raises:
            Refusal.
        """
        return await self.begin(self.job(payer=payer, **self.paid(offer, nonces, payer) | headers))

    async def begin(self, job: Job) -> Reserved:
        """Have a paid request served."""
        await done(self.hook.identify(job))
        if self.full:
            raise Refusal(503, "cannot serve: every slot is taken", code=None)
        model = self.models[self.model.key]
        fixed = model.price is not None and model.price.unit is PriceUnit.FIXED
        id = job.session_id
        if self.sold.find(id) is not None:
            raise Refusal(409, "cannot begin the session: it lives already")
        session = self.sold.begin(
            id, model.key, job.account_id, payer=job.payer, persistent=model.persistent, fixed=fixed
        )
        try:
            await done(self.hook.admit(job))
        except Refusal:
            self.sold.stop(id)
            raise
        session.pending = False
        return Reserved(job, session, self.account(job))

    def account(self, job: Job, **more: Any) -> Account:
        terms = job.terms
        assert terms is not None
        said = {
            "id": job.account_id,
            "request_id": "r",
            "payer": job.payer,
            "key": self.model.key,
            "capability": terms.capability,
            "price": terms.price,
            "unit": terms.unit,
            "door": "public-live-runner",
            "kind": "stream",
            "began": self.now,
            "admitted": True,
        }
        return Account(**said | more)

    async def lives(self, at: Reserved, seconds: float) -> None:
        """Let a session be served for so long in all, charged each second.

        Raises:
            Refusal: its credit is used up.
        """
        served = self.sold.served
        while served[at.session.id] < seconds:
            served[at.session.id] = min(seconds, served[at.session.id] + 1)
            await done(self.hook.charge(at.account, served[at.session.id]))

    async def settle(self, at: Reserved, outcome: Outcome = Outcome.OK, first_byte_s: float | None = 0.1) -> None:
        """Let a session end."""
        if at.session.id in self.sold.live:
            self.sold.stop(at.session.id)
        served = Measured(self.sold.served[at.session.id], first_byte_s)
        await done(self.hook.settle(at.account, outcome, usage_of(at.account, served)))

    async def top_up(
        self, offer: Offer, nonces: Sequence[int], payer: Signer = PAYER, path: str = "", **headers: bytes
    ) -> Offer:
        """Pay more for a session that lives.

        Raises:
            Refusal.
        """
        asked = Asked(self.job(payer=None, **self.paid(offer, nonces, payer) | headers))
        return offer_of(await self.desk.top_up(asked, SLUG, path or offer.manifest))

    async def refresh(self, manifest: str, payer: Signer = PAYER) -> Offer:
        body = json.dumps({"sender": f"0x{payer.address.hex()}", "manifest_id": manifest}).encode()
        return offer_of(await self.desk.refresh(Asked(self.job(payer=None), body)))

    # What is seen.

    def paid(self, offer: Offer, nonces: Sequence[int], payer: Signer = PAYER) -> dict[str, bytes]:
        """Return the headers of a payment."""
        return {"segment": encoded(offer.segment(payer)), "payment": header(offer.payment(nonces, payer))}

    def job(self, *, payer: Signer | None = PAYER, **headers: bytes) -> Job:
        sent = {f"livepeer-{name}".encode(): value for name, value in headers.items()}
        if payer is not None:
            sent.setdefault(b"livepeer-payer-address", f"0x{payer.address.hex()}".encode())
        model = self.models[self.model.key]
        return Job(
            SimpleNamespace(
                request_id="r",
                head=SimpleNamespace(method=b"POST", value=sent.get),
                peer="10.0.0.1",
                key=model.key,
                door_name="public-live-runner",
                of_node=False,
                public=True,
                in_session=False,
                terms_for=lambda payer: terms_of(model, payer),
            )
        )

    def credit(self, manifest: str, payer: Signer = PAYER) -> Fraction:
        return self.ledger.balance(LedgerKey(LIVE_RUNNER.name, payer.address, manifest)).wei


async def done(waits: Any) -> None:
    if waits is not None:
        await waits


@asynccontextmanager
async def a_counter(folder: Path, *models: Model, world: World | None = None, **options: Any) -> AsyncIterator[Counter]:
    """Open one over a real ledger; a second one in the same folder is orchd after a restart."""
    async with opened(world or World(folder)) as kept:
        yield Counter(kept.books, *models, **options)


def told(refusal: Refusal) -> tuple[int, str]:
    """Return status and code."""
    return refusal.status, refusal.word


def healing(refusal: Refusal) -> Offer:
    """Return the challenge that a refusal brings along."""
    assert refusal.status == 402
    assert refusal.body is not None
    return offer_of(json.loads(refusal.body))
