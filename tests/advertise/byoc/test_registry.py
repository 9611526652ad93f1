"""The BYOC writer against the double: what the node holds is what is offered, whatever happens to either side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import pytest
from structlog.testing import capture_logs

from orchd.advertise.byoc import NAME
from orchd.advertise.byoc import plan as byoc_plan
from orchd.advertise.byoc import registry as byoc
from orchd.advertise.byoc.kept import NAMES
from orchd.advertise.byoc.registration import HIDDEN_CAPACITY
from orchd.advertise.byoc.registry import ByocRegistry, spoken
from orchd.advertise.registry import RegistryContext
from orchd.domain.ids import ModelKey
from orchd.domain.money import Currency, Price
from orchd.domain.offer import NodeProgram, NodeStatus, Offer, Offers, Published
from orchd.errors import Code
from orchd.node.client import NodeClient
from orchd.node.ports import NodeAccess, NodeAnswer, Probed
from orchd.node.route_secrets import RouteSecrets, new_key
from orchd.tasks import cancel, spawn
from tests.advertise.rig import (
    BOUND_S,
    CountingListings,
    FakeWatch,
    Jobs,
    NodeSessionsSeen,
    client_of,
    key,
    node,
    offer,
    offers,
    settings_for,
    until,
)
from tests.doubles.golivepeer.byoc import Capability
from tests.doubles.golivepeer.node import Node
from tests.fakes.stored import FakeSecretStore

UP = NodeStatus(True, 1, 0.0, False, "0.9.x", (NAME,))
SECRET = "s3cret"


@dataclass
class Rig:
    """Attributes:
    now: Unix time of the tokens.
    """

    double: Node
    store: FakeSecretStore = field(default_factory=FakeSecretStore)
    jobs: Jobs = field(default_factory=Jobs)
    key: str = field(default_factory=new_key)
    now: float = 1e9
    rate: Fraction | None = Fraction(3000)
    status: NodeStatus = UP
    settings: dict[str, Any] = field(default_factory=dict)
    listings: CountingListings = field(init=False)
    client: NodeClient = field(init=False)
    secrets: RouteSecrets = field(init=False)
    registry: ByocRegistry = field(init=False)
    watch: FakeWatch = field(default_factory=FakeWatch)
    refusals: int = 0

    @asynccontextmanager
    async def orchd(self, *found: Offer, orch_secret: str = SECRET) -> AsyncIterator[None]:
        """Run an orchd that offers these; it is killed in the end."""
        settings = settings_for(self.double, **self.settings)
        self.listings = self.jobs.listings()
        self.listings.on_error = self._count
        self.secrets = RouteSecrets(self.key, 3600.0, clock=lambda: self.now)
        async with client_of(settings, orch_secret) as self.client:
            self.registry = ByocRegistry(
                RegistryContext(
                    NodeAccess(self.client, self.secrets, self.store, self.watch),
                    self.listings,
                    settings,
                    lambda: self.rate,
                    NodeSessionsSeen(),
                    "test",
                )
            )
            self.listings.set_node(self.status)
            self.listings.set_offers(offers(*found))
            task = spawn(self.registry.run(), name="byoc")
            try:
                yield
                assert not task.done(), task
            finally:
                await cancel(task)

    def _count(self, registry: str, code: str) -> None:
        self.refusals += 1

    def post(self, *found: Offer, why_not: dict[ModelKey, str] | None = None) -> None:
        self.listings.set_offers(offers(*found, why_not=why_not))

    @property
    def held(self) -> dict[str, Capability]:
        return self.double.byoc.capabilities

    def shows(self, name: str) -> Published:
        return self.listings.published[NAME].get(key(name), Published(False, False, None, 0.0))

    async def holds(self, **capacities: int) -> None:
        """Wait until the node offers exactly these, all slots free, and we know it."""

        def as_wished() -> bool:
            held = {name.removeprefix("llm/"): (each.capacity, each.load) for name, each in self.held.items()}
            known = self.listings.published[NAME]
            published = {each.model_id for each, shown in known.items() if shown.published}
            return held == {name: (capacity, 0) for name, capacity in capacities.items()} and published == set(
                capacities
            )

        await until(f"the node holds {capacities}", as_wished)


@asynccontextmanager
async def rig(**settings: Any) -> AsyncIterator[Rig]:
    async with node(**settings) as double:
        yield Rig(double)


@contextmanager
def without_byoc(client: NodeClient) -> Iterator[list[str]]:
    """Answer what is asked of BYOC's registry as a program that has none; return the paths that were asked."""
    asked: list[str] = []
    inner = client.service

    async def service(method: str, path: str, **rest: Any) -> NodeAnswer:
        if path.startswith(("/capability/", "/process/")):
            asked.append(path)
            return NodeAnswer(404, b"404 page not found\n", "text/plain")
        return await inner(method, path, **rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "service", service)
        yield asked


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes a minute takes less than a second."""
    monkeypatch.setattr(byoc_plan, "HEAL_S", 0.3)
    monkeypatch.setattr(byoc_plan, "GAP_S", 0.02)
    monkeypatch.setattr(byoc_plan, "POLL_S", 0.02)
    monkeypatch.setattr("orchd.advertise.byoc.registration.RECHECK_S", 0.02)


async def test_what_is_offered_is_registered_with_everything_the_node_needs() -> None:
    async with rig() as r, r.orchd(offer("a", 2, 1200)):
        await r.holds(a=2)
        held = r.held["llm/a"]
        assert held.url == f"http://127.0.0.1:8737/byoc/{key('a').slug}"
        assert (held.price, held.currency) == (Fraction(1200), "wei")
        assert r.secrets.admits(key("a").slug, held.token.encode())
        await until("it is confirmed", lambda: r.shows("a").confirmed)
        shown = r.shows("a")
        assert (shown.wanted, shown.published, shown.error, shown.code) == (True, True, "", None)
        assert shown.price == "1200/1 wei per second"
        assert shown.since > 1_600_000_000


async def test_changes_follow_and_what_leaves_is_unregistered(quick: None) -> None:
    async with rig() as r, r.orchd(offer("a", 2), offer("b", 1)):
        await r.holds(a=2, b=1)
        since = r.shows("a").since
        r.post(offer("a", 3), why_not={key("b"): "it is not ready"})
        await r.holds(a=3)
        assert r.shows("a").since == since
        assert (r.shows("b").wanted, r.shows("b").published) == (False, False)
        r.post()
        await r.holds()
        assert not r.listings.published[NAME], "they have left the file"


async def test_another_name_replaces_the_old_one(quick: None) -> None:
    async with rig() as r, r.orchd(offer("a", 1)):
        await r.holds(a=1)
        r.post(offer("a", 1, capability="new"))
        await until("only the new name", lambda: list(r.held) == ["new"])
        await until("it is shown", lambda: r.shows("a").published)


async def test_any_name_will_do() -> None:
    name = 'très/ 雪 "x" %2F?'
    async with rig() as r, r.orchd(offer("a", 2, capability=name)):
        await until("it is registered", lambda: name in r.held)
        await until("it is confirmed", lambda: r.shows("a").confirmed)
        r.post()
        await until("it is gone", lambda: not r.held)


async def test_withdrawals_come_before_everything_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """One call at a time, a new model each turn: the leaving one is next all the same."""
    monkeypatch.setattr(byoc, "AT_ONCE", 1)
    many = [offer(f"m{number}", 1) for number in range(30)]
    async with rig() as r, r.orchd(offer("z", 1)):
        await r.holds(z=1)
        with capture_logs() as said:
            r.post(*many)
            await until("it is gone", lambda: "byoc_unregistered" in [each["event"] for each in said])
        assert "llm/z" not in r.held
        assert [each["event"] for each in said].index("byoc_unregistered") <= 1, "but for what was under way"


async def test_many_models_are_registered_once_each() -> None:
    many = [offer(f"m{number}", 2) for number in range(100)]
    async with rig() as r, r.orchd(*many):
        await r.holds(**{each.key.model_id: 2 for each in many})
        await until("all are confirmed", lambda: all(r.shows(each.key.model_id).confirmed for each in many))
        assert set(r.double.byoc.registrations.values()) == {1}


async def test_a_new_epoch_registers_everything_again() -> None:
    async with rig() as r, r.orchd(offer("a", 1), offer("b", 2)):
        await r.holds(a=1, b=2)
        await r.double.restart()
        r.listings.set_node(replace(UP, epoch=2))
        await until("it does not count as published before", lambda: not r.shows("a").published or "llm/a" in r.held)
        await r.holds(a=1, b=2)
        assert r.double.byoc.registrations == {"llm/a": 1, "llm/b": 1}


async def test_an_absent_node_is_left_alone_and_then_told_what_has_changed() -> None:
    async with rig() as r, r.orchd(offer("a", 1), offer("b", 1)):
        await r.holds(a=1, b=1)
        r.listings.set_node(replace(UP, up=False))
        r.post(offer("b", 1), offer("c", 1))
        await r.double.leave()
        await r.double.come_back()
        assert sorted(r.held) == ["llm/a", "llm/b"]
        r.listings.set_node(UP)
        await r.holds(b=1, c=1)
        assert r.double.byoc.registrations["llm/b"] == 1, "the same process forgets nothing"


@pytest.mark.parametrize("fault", ["fail", "hang", "absent"])
async def test_a_node_in_trouble_is_asked_again_until_it_takes_it(fault: str) -> None:
    """The watch has not noticed yet. When it says that the node is back, nothing waits any more."""
    async with rig() as r:
        if fault == "absent":
            await r.double.leave()
        elif fault == "hang":
            r.settings["call_timeout_s"] = 0.1
        r.double.faults.fail = fault == "fail"
        r.double.faults.hang(fault == "hang")
        async with r.orchd(offer("a", 1)):
            await until("the error is shown", lambda: r.shows("a").error)
            shown = r.shows("a")
            assert shown.code is (Code.NODE_REFUSED if fault == "fail" else Code.NODE_UNREACHABLE)
            assert shown.error.startswith("cannot register 'llm/a'")
            assert (shown.wanted, shown.published) == (True, False)
            r.double.faults.fail = False
            r.double.faults.hang(False)
            if fault == "absent":
                await r.double.come_back()
            r.listings.set_node(replace(UP, up=False))
            await until("it has seen that", lambda: not r.registry._was_up)
            r.listings.set_node(UP)
            await r.holds(a=1)
            assert r.shows("a").error == ""


async def test_a_wrong_secret_is_said_plainly() -> None:
    async with rig() as r, r.orchd(offer("a", 1), orch_secret="planted-0d41cc"):
        await until("the error is shown", lambda: r.shows("a").error)
        assert r.shows("a").code is Code.NODE_SECRET
        assert "orchestrator.secret_file" in r.shows("a").error
        assert "planted" not in r.shows("a").error


async def test_a_node_without_a_secret_takes_us_without_one() -> None:
    async with rig(orch_secret=None) as r, r.orchd(offer("a", 1), orch_secret=""):
        await r.holds(a=1)


# Prices.

USD = Price(Fraction(12), 36000, Currency.USD)


async def test_a_price_in_usd_is_not_tried_for_ever_where_the_node_drops_it() -> None:
    """Whether it is on chain is not known, so it gets USD, and drops the connection (docs/protocol/byoc.md, 2.2)."""
    async with rig() as r:
        r.status = replace(UP, on_chain=None)
        with capture_logs() as logs:
            async with r.orchd(offer("a", 1, USD)):
                await until("the error is shown", lambda: r.shows("a").code is Code.NODE_CURRENCY)
                await until("it is taken back", lambda: r.double.byoc.unregistrations["llm/a"] == 1)
                looks = len(logs)
                for _ in range(20):
                    r.listings.wake()
                    await asyncio.sleep(0.005)
                assert len(logs) <= looks + 1, logs[looks:]
                assert r.shows("a").code is Code.NODE_CURRENCY
                # Now it is known: wei.
                r.listings.set_node(replace(UP, on_chain=False))
                await r.holds(a=1)
                assert r.held["llm/a"].currency == "wei"
                assert r.shows("a").error == ""


async def test_a_price_that_can_not_be_published_is_withdrawn_and_said() -> None:
    async with rig() as r, r.orchd(offer("a", 1, USD)):
        await r.holds(a=1)
        r.rate = None
        r.listings.wake()
        await r.holds()
        shown = r.shows("a")
        assert (shown.wanted, shown.published, shown.code) == (True, False, Code.PRICE_UNPUBLISHABLE)
        assert shown.error.startswith("cannot publish the price: ")


async def test_a_rate_that_moves_is_told(quick: None) -> None:
    async with rig() as r, r.orchd(offer("a", 1, USD)):
        await r.holds(a=1)
        before = r.held["llm/a"].price
        r.rate = Fraction(1500)
        r.listings.wake()
        await until("the price has changed", lambda: r.held["llm/a"].price == 2 * before)


# Counts, losses, streams.


async def test_leaked_slots_are_won_back(quick: None) -> None:
    async with rig() as r, r.orchd(offer("a", 2)):
        await r.holds(a=2)
        r.held["llm/a"].load += 1
        await r.holds(a=2)
        r.held["llm/a"].load -= 1  # as jobs that end after an upsert
        await r.holds(a=2)


async def test_a_lost_capability_is_registered_again(quick: None) -> None:
    async with rig() as r, r.orchd(offer("a", 1), offer("b", 1)):
        await r.holds(a=1, b=1)
        r.double.byoc.remove("llm/a")
        await r.holds(a=1, b=1)
        await until("it is confirmed", lambda: r.shows("a").confirmed)


async def test_a_registration_tells_how_many_slots_are_taken() -> None:
    """Jobs and streams by BYOC; else the node would count 0, and -2 when they have ended."""
    async with rig() as r, r.orchd(offer("a", 2)):
        await r.holds(a=2)
        for _ in range(2):
            r.double.byoc.reserve("llm/a")
        r.jobs.running[key("a")] = r.jobs.streams[key("a")] = 1
        r.post(offer("a", 3))
        await until("it is told", lambda: r.held["llm/a"].capacity == 3)
        assert r.held["llm/a"].load == 2
        for _ in range(2):
            r.double.byoc.release("llm/a")
        assert r.held["llm/a"].load == 0


async def test_a_slot_that_the_node_keeps_is_won_back_at_once() -> None:
    """Its caller has left: the node leaks the slot, and says nothing. Nothing waits for the next look."""
    async with rig() as r:
        r.settings["check_s"] = 1000.0
        async with r.orchd(offer("a", 2)):
            await r.holds(a=2)
            await until("it was looked at", lambda: r.shows("a").confirmed)
            for _ in range(2):
                r.double.byoc.reserve("llm/a")
            r.jobs.running[key("a")] = 1
            r.listings.leaks.note(key("a"), NAME)
            await until("one is free again", lambda: r.held["llm/a"].load == 1)
            assert r.double.byoc.registrations["llm/a"] == 2


async def test_a_slot_that_another_registry_keeps_is_none_of_byocs(quick: None) -> None:
    async with rig() as r, r.orchd(offer("a", 2), offer("b", 1)):
        await r.holds(a=2, b=1)
        r.listings.leaks.note(key("a"), "live-runner")
        r.listings.leaks.note(key("b"), NAME)
        await until("that of b is told", lambda: r.double.byoc.registrations["llm/b"] == 2)
        assert r.double.byoc.registrations["llm/a"] == 1


async def test_streams_keep_a_leaving_model_hidden_until_the_last_has_ended(quick: None) -> None:
    async with rig() as r, r.orchd(offer("a", 2)):
        await r.holds(a=2)
        r.jobs.streams[key("a")] = r.jobs.active[key("a")] = 1
        r.post(why_not={key("a"): "it is no longer in aiModels.json"})
        await until("it is hidden", lambda: r.held["llm/a"].capacity == HIDDEN_CAPACITY)
        await until("that is shown", lambda: not r.shows("a").published)
        r.jobs.streams[key("a")] = r.jobs.active[key("a")] = 0
        await r.holds()


async def test_a_rotated_token_is_told_and_both_are_admitted(quick: None) -> None:
    async with rig() as r, r.orchd(offer("a", 1)):
        await r.holds(a=1)
        before = r.held["llm/a"].token
        r.now += 3600
        r.listings.wake()
        await until("it has another", lambda: r.held["llm/a"].token != before)
        for token in (before, r.held["llm/a"].token):
            assert r.secrets.admits(key("a").slug, token.encode())


# orchd's own end and start.


async def test_the_next_orchd_registers_everything_once_more() -> None:
    async with rig() as r:
        for count in (1, 2):
            async with r.orchd(offer("a", 1)):
                await r.holds(a=1)
                assert r.double.byoc.registrations["llm/a"] == count


async def test_the_next_orchd_takes_back_what_has_left_the_file_meanwhile() -> None:
    async with rig() as r:
        async with r.orchd(offer("a", 1), offer("b", 1)):
            await r.holds(a=1, b=1)
        async with r.orchd(offer("b", 1)):
            await r.holds(b=1)
        async with r.orchd():
            await r.holds()
            await until("it is forgotten", lambda: r.store.secrets[NAMES] == "{}")


async def test_names_are_kept_before_the_node_is_told() -> None:
    """orchd is killed while the first call is under way."""
    async with rig() as r:
        r.double.faults.hang(True)
        async with r.orchd(offer("a", 1)):
            await until("the name is kept", lambda: "llm/a" in r.store.secrets.get(NAMES, ""))
        assert r.secrets.token(key("a").slug, r.secrets.period()).value not in str(r.store.secrets)


async def test_a_name_is_still_kept_when_the_next_model_comes_while_it_is_being_written() -> None:
    """The node is about to be told of the first; orchd is killed before it has answered."""
    async with rig() as r:
        save, kept = r.store.save_secret, list[str]()

        async def save_slowly(name: str, value: str) -> None:
            await save(name, value)
            if name == NAMES:
                kept.append(value)
                r.post(offer("a", 1), offer("b", 1))

        r.store.save_secret = save_slowly  # type: ignore[method-assign]
        r.double.faults.hang(True)
        async with r.orchd(offer("a", 1)):
            await until("the second name is kept", lambda: "llm/b" in r.store.secrets.get(NAMES, ""))
        assert "llm/b" not in kept[0]
        assert all("llm/a" in value for value in kept)


async def test_names_of_another_version_are_no_reason_to_fail() -> None:
    async with rig() as r:
        r.store.secrets[NAMES] = '{"llm/x": {}}'
        async with r.orchd(offer("a", 1)):
            await r.holds(a=1)


async def test_the_next_orchd_hides_a_model_that_left_with_streams(quick: None) -> None:
    async with rig() as r:
        async with r.orchd(offer("a", 1, 7)):
            await r.holds(a=1)
        r.jobs.streams[key("a")] = r.jobs.active[key("a")] = 1
        async with r.orchd():
            await until("it is hidden", lambda: r.held["llm/a"].capacity == HIDDEN_CAPACITY)
            assert r.held["llm/a"].price == 7
            r.jobs.streams[key("a")] = r.jobs.active[key("a")] = 0
            await r.holds()


async def test_a_normal_stop_withdraws_everything_and_hides_what_has_streams() -> None:
    async with rig() as r:
        r.settings["call_timeout_s"] = BOUND_S  # All are taken back within the time of one call.
        many = [offer(f"m{number}", 1) for number in range(20)]
        async with r.orchd(offer("a", 1), *many):
            await r.holds(a=1, **{each.key.model_id: 1 for each in many})
        r.jobs.streams[key("a")] = 1
        async with client_of(settings_for(r.double, **r.settings)) as r.registry._client:
            await r.registry.withdraw_all()
        assert {name: each.capacity for name, each in r.held.items()} == {"llm/a": HIDDEN_CAPACITY}


@pytest.mark.parametrize("fault", ["hang", "fail", "down"])
async def test_a_normal_stop_does_not_wait_for_a_node_in_trouble(fault: str) -> None:
    async with rig() as r:
        r.settings["call_timeout_s"] = 0.2
        async with r.orchd(offer("a", 1)):
            await r.holds(a=1)
        r.double.faults.fail = fault == "fail"
        r.double.faults.hang(fault == "hang")
        if fault == "down":
            r.listings.set_node(replace(UP, up=False))
        async with asyncio.timeout(10), client_of(settings_for(r.double, **r.settings)) as r.registry._client:
            await r.registry.withdraw_all()
        r.double.faults.hang(False)


async def test_a_node_without_byoc_is_not_told_and_what_it_had_is_taken_back() -> None:
    async with rig() as r, r.orchd(offer("a", 1)):
        await r.holds(a=1)
        r.listings.set_node(replace(UP, registries=("live-runner",)))
        await r.holds()
        assert r.listings.offers == offers(offer("a", 1)) == Offers({key("a"): offer("a", 1)}, {})


async def test_a_node_that_has_no_byoc_any_more_holds_nothing_of_it() -> None:
    """Its 404 is the end of it, and it is asked once."""
    async with rig() as r, r.orchd(offer("a", 1), offer("b", 1)):
        await r.holds(a=1, b=1)
        r.jobs.streams[key("b")] = 1
        with without_byoc(r.client) as asked:
            r.listings.set_node(replace(UP, epoch=2, registries=("live-runner",)))
            await until("it is forgotten", lambda: r.store.secrets[NAMES] == "{}")
            await until("nothing is shown of it", lambda: not r.listings.published[NAME])
            r.listings.wake()
            await until("it was woken", lambda: not r.registry._changed.is_set())
        told = sorted(path for path in asked if path.startswith("/capability/"))
        assert told == ["/capability/register", "/capability/unregister"], "the one with a stream was hidden"


async def test_beside_livepeer_node_it_does_and_says_nothing() -> None:
    async with rig() as r:
        async with r.orchd(offer("a", 1)):
            await r.holds(a=1)
        r.status = replace(UP, registries=("live-runner",), program=NodeProgram.LIVEPEER_NODE)
        with capture_logs() as said:
            async with r.orchd(offer("a", 1)):
                with without_byoc(r.client) as asked:
                    r.listings.leaks.note(key("a"), NAME)
                    await until("what an earlier orchd told is forgotten", lambda: r.store.secrets[NAMES] == "{}")
                    assert not r.listings.published[NAME]
        assert (asked, said) == ([], [])


async def test_a_node_that_lacks_the_registry_is_suspected_to_be_another_one() -> None:
    async with rig() as r:
        async with r.orchd():
            with without_byoc(r.client):
                r.post(offer("a", 1))
                await until("the error is shown", lambda: r.shows("a").code is Code.NOT_SPOKEN)
        assert r.watch.suspicions == 1
        assert r.shows("a").error.startswith("cannot register 'llm/a' with the node: it has no BYOC registry")


async def test_two_orchd_that_register_the_same_name_are_told_apart_and_do_not_fight(quick: None) -> None:
    """The one whose slots are fewer sees more at the node than it has told, and says so."""
    async with rig() as small:
        large = Rig(small.double)
        with capture_logs() as said:
            async with small.orchd(offer("a", 1)), large.orchd(offer("a", 3)):
                await until("the other one is noticed", lambda: "a second orchd" in small.shows("a").error)
                await until("it is said", lambda: any(each["event"] == "byoc_contested" for each in said))
        [line] = {str(sorted(each.items())) for each in said if each["event"] == "byoc_contested"}
        assert all(part in line for part in ("'llm/a'", "'instance', 'test'", "http://127.0.0.1:8737"))
        assert not large.shows("a").error


# What is said in the log.


async def test_one_refusal_of_all_models_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchd.advertise.byoc.registration.BACKOFF_MIN_S", 0.01)
    monkeypatch.setattr("orchd.advertise.byoc.registration.BACKOFF_MAX_S", 0.01)
    async with rig() as r:
        with capture_logs() as said:
            async with r.orchd(offer("a", 1), offer("b", 1), orch_secret="planted-0d41cc"):
                await until("each was tried", lambda: r.shows("a").error and r.shows("b").error)
                refused = r.refusals
                await until("they were tried often", lambda: r.refusals > refused + 5)
        assert len([each for each in said if each["event"] == "byoc_failed"]) == 1


@pytest.mark.parametrize(("theirs", "ours", "open_"), [(None, "", True), (None, SECRET, True), (SECRET, SECRET, False)])
async def test_a_node_that_takes_registrations_from_anybody_is_worth_a_warning(
    theirs: str | None, ours: str, open_: bool
) -> None:
    async with rig(orch_secret=theirs) as r:
        with capture_logs() as said:
            async with r.orchd(offer("a", 1), orch_secret=ours):
                await until(
                    "it is said", lambda: not open_ or any(each["event"] == "byoc_registry_open" for each in said)
                )
                await until("a was tried", lambda: r.shows("a").error or r.shows("a").published)
        found = [each for each in said if each["event"] == "byoc_registry_open"]
        assert len(found) == int(open_)
        assert all("has no -orchSecret" in each["reason"] for each in found)


@pytest.mark.parametrize("secret", ["s3cret", "another", None])
async def test_whether_the_node_has_byoc_is_asked_without_a_trace(secret: str | None) -> None:
    async with node() as double, client_of(settings_for(double), secret) as client:
        assert await spoken(client, settings_for(double), Probed(NodeProgram.GO_LIVEPEER, live_runner=False))
        assert not double.byoc.capabilities
