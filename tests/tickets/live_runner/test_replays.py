"""Many tickets, and replays of every kind between them: none is ever credited twice."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

import pytest

from orchd.hooks.refusal import Refusal
from orchd.tickets.ledger.books import Books
from orchd.tickets.validation.messages import PaymentMessage
from orchd.tickets.validation.schemes import MAX_NONCES
from orchd.tickets.validation.signatures import MAX_U256
from tests.soak import examples
from tests.tickets.live_runner.counter import Counter, Offer, Reserved, a_counter
from tests.tickets.validation.made import OTHER, PAYER
from tests.tickets.validation.sender import Signer, header, high_s

MOST_AT_ONCE = 25
REFUSED = {"nonce_seen", "manifest_foreign", "sender_differs", "commitment_differs", "signature_high_s"}


@dataclass
class Session:
    """A session of a payer's, and what was paid on its terms."""

    payer: Signer
    offer: Offer
    at: Reserved
    next_nonce: int


@dataclass
class Past:
    """A payment that was taken."""

    payer: Signer
    offer: Offer
    message: PaymentMessage


class Replays:
    """Pays, and pays again with what was taken.

    Attributes:
        taken: tickets.
        tried: replays.
    """

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.counter: Counter
        self.sessions: list[Session] = []
        self.past: list[Past] = []
        self.taken = self.tried = 0

    def fresh(self, session: Session, most: int = MOST_AT_ONCE) -> PaymentMessage:
        count = self.chance.randint(1, min(most, MAX_NONCES - session.next_nonce))
        nonces = range(session.next_nonce, session.next_nonce + count)
        session.next_nonce += count
        return session.offer.payment(nonces, session.payer)

    async def begin(self) -> None:
        payer = self.chance.choice((PAYER, OTHER))
        offer = await self.counter.challenge(payer)
        message = offer.payment([1, 2, 3], payer)
        at = await self.counter.reserve(offer, payer=payer, payment=header(message))
        self.sessions.append(Session(payer, offer, at, 4))
        self.note(Past(payer, offer, message))

    async def end(self) -> None:
        session = self.sessions.pop(self.chance.randrange(len(self.sessions)))
        await self.counter.settle(session.at)

    async def top_up(self) -> None:
        session = self.chance.choice(self.sessions)
        message = self.fresh(session)
        await self.pay(session, message)
        self.note(Past(session.payer, session.offer, message))
        if session.next_nonce > MAX_NONCES - MOST_AT_ONCE:
            session.offer, session.next_nonce = await self.counter.refresh(session.offer.manifest, session.payer), 1

    async def pay(self, session: Session, message: PaymentMessage) -> None:
        await self.counter.top_up(session.offer, [], session.payer, payment=header(message))

    def note(self, past: Past) -> None:
        self.taken += len(past.message.ticket_sender_params)
        self.past.append(past)
        if len(self.past) > 200:
            self.past.pop(self.chance.randrange(len(self.past)))

    async def replay(self) -> None:
        """Pay with something that was taken before: it is refused, and changes nothing."""
        past = self.chance.choice(self.past)
        self.tried += 1
        before = self.booked()
        message = self.again(past)
        paid = (
            self.pay(self.chance.choice(self.sessions), message)
            if self.chance.random() < 0.8
            else self.counter.reserve(past.offer, payer=past.payer, payment=header(message))
        )
        with pytest.raises(Refusal) as refused:
            await paid
        assert refused.value.word in REFUSED | {"session_lives", "terms_expired"}
        assert self.booked() == before

    def again(self, past: Past) -> PaymentMessage:
        """Return a payment that was taken, as it was or dressed up."""
        message, tickets = past.message, [*past.message.ticket_sender_params]
        assert message.ticket_params is not None
        match self.chance.randrange(6):
            case 0:
                self.chance.shuffle(tickets)
            case 1:
                tickets = [self.chance.choice(tickets)]
            case 2:  # Among tickets that were never seen.
                unseen = past.offer.payment([MAX_NONCES - 1], past.payer).ticket_sender_params
                tickets = [*unseen, self.chance.choice(tickets)]
            case 3:  # The other signature that recovers to the same key.
                first = tickets[0]
                tickets = [replace(first, sig=high_s(first.sig))]
            case 4:  # Other bytes, the same terms.
                message = replace(message, ticket_params=replace(message.ticket_params, expiration_params=None))
            case _:
                pass
        return replace(message, ticket_sender_params=tuple(tickets))

    async def twice_at_once(self) -> None:
        """Send the same fresh payment to two sessions of its payer, or twice to one: one of them passes."""
        session = self.chance.choice(self.sessions)
        message = self.fresh(session, 3)
        other = self.chance.choice([each for each in self.sessions if each.payer is session.payer])
        found = await asyncio.gather(self.pay(session, message), self.pay(other, message), return_exceptions=True)
        refused = [each for each in found if isinstance(each, Refusal)]
        assert [each.word for each in refused] == ["nonce_seen"]
        self.tried += 1
        self.note(Past(session.payer, session.offer, message))

    def booked(self) -> tuple[int, int]:
        """Return how often the ledger has booked something, and on how many terms nonces are on their way."""
        ledger = self.counter.ledger
        assert isinstance(ledger, Books)
        return ledger.view.state.commits, len(ledger.view.reserved)

    def balances(self) -> dict[object, Fraction]:
        ledger = self.counter.ledger
        assert isinstance(ledger, Books)
        return {key: ledger.balance(key).wei for key in ledger.view.accounts}

    def credited(self) -> tuple[int, Fraction]:
        """Return the tickets and the wei that the ledger has credited in all."""
        ledger = self.counter.ledger
        assert isinstance(ledger, Books)
        sums: Sequence[tuple[int, int]] = [(each.tickets, each.expected) for each in ledger.sums().values()]
        return sum(tickets for tickets, _ in sums), Fraction(sum(expected for _, expected in sums), MAX_U256)


@pytest.mark.soak
async def test_no_ticket_is_credited_twice_whatever_it_is_dressed_up_as(tmp_path: Path) -> None:
    wanted, chance = examples(100_000, share=0.01), random.Random(17)
    story = Replays(chance)
    for part in range(1, 5):  # A restart after each.
        async with AsyncExitStack() as stack:
            story.counter = await stack.enter_async_context(a_counter(tmp_path))
            while story.taken < wanted * part / 4:
                if not story.sessions or (len(story.sessions) < 6 and chance.random() < 0.1):
                    await story.begin()
                elif chance.random() < 0.05:
                    await story.end()
                else:
                    await chance.choice((story.top_up, story.replay, story.replay, story.twice_at_once))()
            while story.sessions:
                await story.end()
            tickets, wei = story.credited()
            assert tickets == story.taken
            assert wei == sum(story.balances().values()), "nothing was served, so nothing was charged"
    assert story.tried > wanted / 100
