"""The plan against a tiny node: whatever happens, in any order, it ends with the node holding exactly the offer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from fractions import Fraction

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from orchd.advertise.byoc import registration as registrations
from orchd.advertise.byoc.facts import ByocRules, Facts, Load, TokenSighting
from orchd.advertise.byoc.plan import GAP_S, HEAL_S, step
from orchd.advertise.byoc.prices import ByocPrice
from orchd.advertise.byoc.registration import AskToken, Capability, Registration, Unregister, Upsert, WaitUntil
from orchd.domain.money import Currency, Price
from orchd.domain.offer import Offer
from orchd.errors import Code
from tests.advertise.rig import offer
from tests.soak import examples

RECOUNT_S, CHECK_S = 300.0, 60.0
RULES = ByocRules(RECOUNT_S, Fraction(1, 20))
PRICES = (Price(Fraction(0)), Price(Fraction(7)), Price(Fraction(1, 3600), 1, Currency.USD))


class Mood(Enum):
    """How the node takes calls."""

    WELL = "well"
    FAILS = "answers 500"
    REFUSES = "answers 400"
    DEAF = "gives no answer and does nothing"
    MUTE = "gives no answer and does it"
    DOWN = "down"


@dataclass
class Held:
    record: Capability
    load: int = 0


class TinyNode:
    """BYOC's registry as docs/protocol/byoc.md, 2 and 5 have it, with room for one name."""

    def __init__(self, *, shows_slots: bool) -> None:
        self.shows_slots = shows_slots
        self.mood = Mood.WELL
        self.starts = 1
        self.held: Held | None = None
        self.remembered = False
        self.upserts = 0

    def restart(self) -> None:
        self.starts += 1
        self.held, self.remembered = None, False

    def take(self, call: Upsert | Unregister, load: int) -> None:
        if isinstance(call, Upsert):
            self.held, self.remembered = Held(call.record, load), True
            self.upserts += 1
        else:
            self.held = None

    def token(self) -> TokenSighting:
        free = max(0, self.held.record.capacity - self.held.load) if self.held else 0
        if self.shows_slots:
            return TokenSighting(True, free) if free else TokenSighting(None, 0)
        return TokenSighting(None, None) if self.remembered else TokenSighting(False, None)


class Plan(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self.registration = Registration()
        self.offer: Offer | None = None
        self.epoch = 1
        self.on_chain = False
        self.eth_usd = Fraction(3000)
        self.period = 3
        self.active = self.begun = self.streams = self.leaks = 0
        self.told_at = -1e9
        self.told_epoch = 0

    @initialize(shows_slots=st.booleans(), on_chain=st.booleans(), left_over=st.booleans(), capacity=st.integers(0, 4))
    def begin(self, shows_slots: bool, on_chain: bool, left_over: bool, capacity: int) -> None:
        self.node = TinyNode(shows_slots=shows_slots)
        self.on_chain = on_chain
        if left_over:
            # An earlier orchd has told the node, with another token, and some of its jobs run on.
            made = Capability("llm/a", offer("a").key, 0, ByocPrice(1, 1, Currency.WEI), 0)
            self.node.take(Upsert(replace(made, capacity=4), ""), 0)
            self.registration = Registration(made, sure=False)
        if capacity:
            self.is_offered(capacity, PRICES[0], GAP_S)

    def facts(self) -> Facts:
        return Facts(
            self.now,
            self.node.mood is not Mood.DOWN,
            self.epoch,
            self.on_chain,
            self.eth_usd,
            self.period,
            self.streams,
            self.leaks,
        )

    def turn(self) -> float:
        """Do what is due, once; return when to look again."""
        made, given = step(self.registration, self.offer, self.facts(), RULES), self.facts()
        match made:
            case WaitUntil(until):
                assert until > self.now, "a wait that is over is no wait"
                return until
            case AskToken():
                load = Load(self.active, self.begun)
                self.registration = registrations.checked(
                    self.registration, self.node.token(), load, load, self.now, CHECK_S
                )
            case _:
                self.call(made, given)
        return self.now

    def call(self, call: Upsert | Unregister, given: Facts) -> None:
        before, mood = self.registration, self.node.mood
        calling = registrations.calling(before, call)
        if mood in (Mood.WELL, Mood.MUTE):
            self.node.take(call, self.active)
        match mood:
            case Mood.WELL:
                if isinstance(call, Unregister):
                    self.registration = registrations.unregistered(before)
                    return
                if call.record.capacity > 0:
                    assert self.now - self.told_at >= GAP_S or self.told_epoch != self.epoch
                    self.told_at, self.told_epoch = self.now, self.epoch
                self.registration = registrations.upserted(before, call.record, given)
            case Mood.FAILS | Mood.REFUSES:
                final = mood is Mood.REFUSES and isinstance(call, Upsert)
                self.registration = registrations.failed(before, call, given, RULES, "", Code.NODE_REFUSED, final=final)
            case _:
                self.registration = registrations.failed(
                    calling, call, given, RULES, "", Code.NODE_UNREACHABLE, final=False
                )

    def run_for(self, seconds: float) -> None:
        end = self.now + seconds
        for _ in range(2000):
            until = self.turn()
            if until > end:
                self.now = end
                return
            self.now = max(self.now, until)
        raise AssertionError("a tight loop")

    @rule(capacity=st.integers(1, 3), price=st.sampled_from(PRICES), seconds=st.sampled_from([0.0, GAP_S]))
    def is_offered(self, capacity: int, price: Price, seconds: float) -> None:
        self.offer = offer("a", capacity, price)
        self.run_for(seconds)

    @rule(again=st.booleans())
    def is_not_offered(self, again: bool) -> None:
        former, self.offer = self.offer, None
        had = self.node.held
        self.run_for(0)
        # At once, whatever was waited for; unless the node does not take it.
        if self.node.mood is Mood.WELL and not self.registration.failures:
            assert not self.registration.offered
            assert self.node.held is None or self.node.held.record.capacity < 0
            if had and self.streams and self.registration.epoch == self.node.starts:
                assert self.node.held is not None, "streams need it"
        if again:
            self.offer = former

    @rule(seconds=st.sampled_from([0.1, 1.0, 5.0, 61.0, 700.0]))
    def time_passes(self, seconds: float) -> None:
        self.run_for(seconds)

    def has_a_slot(self) -> bool:
        return self.node.held is not None and self.node.held.record.capacity > self.node.held.load

    @precondition(has_a_slot)
    @rule()
    def a_job_begins(self) -> None:
        assert self.node.held is not None
        self.node.held.load += 1
        self.active += 1
        self.begun += 1

    @precondition(lambda self: self.active > self.streams)
    @rule()
    def a_job_ends(self) -> None:
        self.active -= 1
        if self.node.held:
            self.node.held.load -= 1

    @precondition(has_a_slot)
    @rule()
    def a_stream_begins(self) -> None:
        self.a_job_begins()
        self.streams += 1

    @precondition(lambda self: self.streams)
    @rule()
    def a_stream_ends(self) -> None:
        self.streams -= 1
        self.a_job_ends()

    @precondition(lambda self: self.node.held)
    @rule()
    def the_node_leaks_a_slot(self) -> None:
        assert self.node.held is not None
        self.node.held.load += 1
        self.begun += 1  # it was a job's
        self.leaks += not self.node.shows_slots  # Else only the token shows it.

    @rule()
    def the_node_drops_it(self) -> None:
        """It could not reach us for a job, or so it thought."""
        if self.node.held:
            self.node.held = None
            self.begun += 1

    @rule()
    def the_node_is_started_anew(self) -> None:
        self.node.restart()

    @rule()
    def that_is_seen(self) -> None:
        self.epoch = self.node.starts
        self.run_for(0)

    @rule(mood=st.sampled_from([*Mood, *[Mood.WELL] * 5]))  # mostly well: else nothing else happens
    def the_node_is(self, mood: Mood) -> None:
        if mood is Mood.WELL and self.node.mood is Mood.DOWN:
            self.registration = self.registration.retried()  # as the registry does when the node is back
        self.node.mood = mood
        self.run_for(0)

    @rule(rate=st.integers(2000, 4000))
    def the_rate_is(self, rate: int) -> None:
        self.eth_usd = Fraction(rate)

    @rule()
    def tokens_rotate(self) -> None:
        self.period += 1

    def all_is_quiet(self) -> None:
        """The node is well and seen as it is, all jobs have ended, and time has passed."""
        while self.streams:
            self.a_stream_ends()
        while self.active:
            self.a_job_ends()
        self.the_node_is(Mood.WELL)
        self.that_is_seen()
        before = self.node.upserts
        self.run_for(2 * RECOUNT_S + 2 * HEAL_S)
        assert self.node.upserts - before <= 4, "it is told a few times, to heal"
        if self.offer is None:
            assert self.node.held is None
        else:
            held = self.node.held
            assert held is not None
            assert (held.record.capacity, held.load) == (self.offer.capacity, 0)
            assert held.record.asked == self.offer.price
            assert held.record.period == self.period
            assert self.registration.record == held.record
            assert self.registration.offered
        before = self.node.upserts
        self.run_for(2 * RECOUNT_S)
        seen = self.node.shows_slots or self.offer is None
        assert self.node.upserts - before == (0 if seen else 2), "then no more than where nothing can be seen"

    def teardown(self) -> None:
        if hasattr(self, "node"):
            self.all_is_quiet()


TestPlan = Plan.TestCase
TestPlan.settings = settings(max_examples=examples(2000), stateful_step_count=12)
