"""A till: what takes payments, before a chain and a ledger that are fakes; and payers who come to it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from orchd.chain.ports import ChainNow
from orchd.domain.chain import ChainFacts, PayerFacts, TermsOf
from orchd.domain.model import Model
from orchd.domain.money import Price
from orchd.doors.entrance import Entrance
from orchd.doors.public_byoc.door import PublicByocDoor
from orchd.doors.public_byoc.tokens import TokenDesk
from orchd.exposition import MetricsRegistry
from orchd.hooks.terms import terms_of
from orchd.threads import DaemonThreads
from orchd.tickets.byoc_tickets import Tickets
from orchd.tickets.ledger.ports import LedgerKey
from orchd.tickets.metrics import PaymentCollector
from orchd.tickets.paid_sessions import PaidSessions
from orchd.tickets.payments import Payments, TicketRules
from orchd.tickets.validation.messages import PaymentMessage
from orchd.tickets.validation.payment import read_terms
from tests.doubles.gateway.credentials import Identity
from tests.doubles.gateway.credentials import Job as SentJob
from tests.doubles.gateway.tokens import Token, read_token
from tests.fakes.ledger import FakeLedger
from tests.jobs.fakes import Bench
from tests.jobs.messages import answer, request
from tests.jobs.model import a_model
from tests.jobs.test_own import FakeKeeper
from tests.relay.transport import FakeTransport
from tests.tickets.validation.made import BLOCK, OTHER, PAYER, RECIPIENT, ROUND, ROUND_HASH
from tests.tickets.validation.receiver import FUNDED
from tests.tickets.validation.sender import Signer, header

PRICE = 2_500_000
"""Wei per second of the model; a ticket is worth 2.5 s."""
WORK = "image/org/one"
URL = "https://orch.example.com:8443"
PAID = a_model(price=Price(Fraction(PRICE)), max_sessions=4)
GAS_PRICE = 20_000_000
RULES = TicketRules()
MADE = answer(b"made")


@dataclass
class FakeChain:
    """After `chain.ports.Chain`.

    Attributes:
        payers: whom an RPC server knows.
        known: whom we know without asking.
        told: False = no RPC server has answered for too long. `fresh`: one has answered lately.
        asked: whom an RPC server was asked about.
    """

    recipient: bytes = RECIPIENT
    backed: bool = True
    facts: ChainFacts = field(default_factory=lambda: ChainFacts(BLOCK, ROUND, active=True))
    payers: dict[bytes, PayerFacts] = field(default_factory=lambda: {PAYER.address: FUNDED, OTHER.address: FUNDED})
    known: set[bytes] = field(default_factory=set)
    told: bool = True
    fresh: bool = True
    credit: list[tuple[bytes, Fraction]] = field(default_factory=list)
    asked: list[bytes] = field(default_factory=list)

    def now(self) -> ChainNow | None:
        if not self.told:
            return None
        return ChainNow(self.facts, TermsOf(self.facts.l1_block, self.facts.round, ROUND_HASH), GAS_PRICE, self.fresh)

    def payer(self, address: bytes) -> PayerFacts | None:
        return self.payers.get(address) if address in self.known else None

    async def learn(self, address: bytes) -> PayerFacts | None:
        self.asked.append(address)
        await asyncio.sleep(0)
        if address in self.payers:
            self.known.add(address)
        return self.payer(address)

    def credited(self, address: bytes, wei: Fraction) -> None:
        self.credit.append((address, wei))


class Till(Bench):
    """The job server with BYOC's public door and the hook `tickets`."""

    def __init__(
        self,
        *models: Model,
        trusting: bool = False,
        backed: bool = True,
        rules: TicketRules = RULES,
        at_once: int = 600,
        ledger: FakeLedger | None = None,
        **options: Any,
    ) -> None:
        self.chain = FakeChain(backed=backed)
        self.ledger = ledger or FakeLedger()
        self.counts = PaymentCollector(MetricsRegistry())
        threads = DaemonThreads("till")
        self.payments = Payments(self.chain, self.ledger, rules, self.counts, threads, at_once=at_once)
        self.sessions = PaidSessions(self.ledger, asyncio.get_running_loop().time)
        self.tickets = Tickets(self.payments, self.sessions, trusting=trusting)
        super().__init__(models=models or (PAID,), real_hooks=[*options.pop("before", ()), self.tickets], **options)
        desk = TokenDesk(self.payments, self.sessions, terms_of, self.table, URL)
        self.keeper_of_own = FakeKeeper()
        self.entrance = Entrance((PublicByocDoor(desk),), own=self.keeper_of_own)

    def credit(self, payer: Signer = PAYER, work: str = WORK) -> Fraction:
        """Return a payer's balance."""
        return self.ledger.balance(LedgerKey("byoc", payer.address, work)).wei

    async def asked(self, data: bytes) -> FakeTransport:
        """Return who has said this, once nothing more happens without time passing."""
        caller = self.caller(data)
        await self.settle()
        return caller

    async def served(self, data: bytes, seconds: float = 0.5, reply: bytes = MADE) -> FakeTransport:
        """Return who has said this, and whose job has ended; the runner answers after so many seconds."""
        self.network.reply = None
        asked = len(self.network.requests)
        caller = await self.asked(data)
        await asyncio.sleep(seconds)
        if len(self.network.requests) > asked:
            self.network.end.say(reply)
        await self.idle()
        return caller

    async def token(self, payer: Signer = PAYER, work: str = WORK) -> Token:
        """Return a new token."""
        caller = await self.asked(token_request(payer, work))
        assert caller.messages[0].status == 200, caller.sent
        return read_token(caller.messages[0].body.decode())

    async def paid(self, seconds: int, payer: Signer = PAYER, work: str = WORK, first: int = 1) -> str:
        """Return a payment on new terms for so many seconds of work."""
        return paid_on(await self.token(payer, work), seconds, payer, first)


def token_request(payer: Signer | None, work: str = WORK) -> bytes:
    headers = Identity(payer).token_headers(work)
    return request(*headers.items(), method="GET", target="/process/token")


def paid_on(token: Token, seconds: int, payer: Signer = PAYER, first: int = 1) -> str:
    """Return a payment on a token's terms."""
    return header(payment_on(token, seconds, payer, first)).decode()


def payment_on(token: Token, seconds: int, payer: Signer = PAYER, first: int = 1) -> PaymentMessage:
    assert token.params is not None
    terms = read_terms(token.params, None)
    count = -(-seconds * token.price.price_per_unit // terms.expected_value) if terms.face_value else 0
    return payer.payment(terms, range(first, first + count), Fraction(token.price.price_per_unit))


def job_header(payer: Signer | None = PAYER, work: str = WORK, timeout_s: int = 30, **said: str) -> str:
    """Return the signed header `Livepeer`."""
    job = SentJob("job1", said.get("request", "{}"), said.get("parameters", "{}"), work, timeout_s)
    return Identity(payer).job_header(job)


def job(payment: str | None = None, *, livepeer: str | None = None, path: str = "", body: bytes = b"{}") -> bytes:
    """Return a request for work."""
    headers = [("Livepeer", job_header() if livepeer is None else livepeer), ("Content-Type", "application/json")]
    if payment is not None:
        headers.append(("Livepeer-Payment", payment))
    return request(*headers, target=f"/process/request{path}", body=body)


def refusal_of(caller: FakeTransport) -> tuple[int, str]:
    """Return status and code of an answer of our own."""
    message = caller.messages[0]
    body = json.loads(message.body)
    assert body["message"].startswith("cannot ")
    assert message.header("Livepeer-Error") == body["error"]
    return message.status, body["error"]
