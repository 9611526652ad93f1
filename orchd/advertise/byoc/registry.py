"""Keeps BYOC's registry the same as what is offered. What to do next is decided in `plan`.

One call for a name at a time, a few names at once, withdrawals first. What the next call is, is decided when it
begins, so nothing that waits its turn is out of date.

The names are kept in the store, before the node is told them: a model that leaves the file while orchd is down is
taken back by the next orchd, as the node can't be asked what it holds (docs/protocol/byoc.md, 2.5).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from dataclasses import replace
from fractions import Fraction
from functools import partial
from math import inf

import structlog

from orchd.advertise.byoc import NAME, control_channel, plan, wire
from orchd.advertise.byoc import registration as registrations
from orchd.advertise.byoc.facts import ByocRules, Facts, Load
from orchd.advertise.byoc.kept import KeptCapabilities
from orchd.advertise.byoc.open_registry import OpenRegistry, probe_name
from orchd.advertise.byoc.registration import (
    AskToken,
    ByocCall,
    ByocStep,
    Capability,
    Registration,
    Unregister,
    Upsert,
    WaitUntil,
)
from orchd.advertise.byoc.standing import is_gone, standing
from orchd.advertise.byoc.token_probe import TokenProbe
from orchd.advertise.byoc.troubles import Troubles
from orchd.advertise.registry import RegistryContext
from orchd.advertise.settings import OrchestratorSettings
from orchd.domain.ids import ModelKey
from orchd.domain.offer import NodeProgram, Offer, Published
from orchd.errors import Code, OrchdError
from orchd.node.ports import NodeAnswer, NodeCalls, NodeError, Probed
from orchd.tasks import cancel, spawn

log = structlog.get_logger("orchd.advertise.byoc")

AT_ONCE = 8
"""Calls to the node."""


async def spoken(client: NodeCalls, settings: OrchestratorSettings, node: Probed) -> bool:
    """Return whether the node has this registry.

    Raises:
        NodeError: it did not say.
    """
    if node.program is not NodeProgram.GO_LIVEPEER:
        return False
    answer = await client.service("POST", wire.UNREGISTER, body=probe_name(), authorization=client.secret)
    return answer.has_route()


class ByocRegistry:
    """`orchd.advertise.registry.StreamRegistry` for BYOC. Make it inside a running loop."""

    def __init__(self, context: RegistryContext) -> None:
        self._client = context.node.calls
        self._listings = context.listings
        self.lives = partial(control_channel.lives, context.node.calls)
        self._secrets = context.node.tokens
        self._watch = context.node.watch
        self._settings = settings = context.settings
        self._eth_usd = context.eth_usd
        self._open = OpenRegistry(context.node.calls, settings.service_url)
        self._kept = KeptCapabilities(context.node.store)
        self._probe = TokenProbe(context.node.calls, context.node.store)
        self._rules = ByocRules(settings.recount_s, Fraction(settings.rate_move_pct) / 100)
        self._registrations: dict[str, Registration] = {}
        self._keys: dict[str, ModelKey] = {}
        self._calls: dict[str, asyncio.Task[None]] = {}
        self._troubles = Troubles(context.listings.on_error, context.instance, settings.callback_url)
        self._was_up = False
        self._broken: BaseException | None = None
        self._changed = context.listings.subscribe()

    async def run(self) -> None:
        """Work until cancelled."""
        await self._recall()
        try:
            while True:
                self._changed.clear()
                until = await self._turn(self._offers())
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout_at(None if until == inf else until):
                        await self._changed.wait()
        finally:
            await self._open.close()
            await cancel(*self._calls.values())

    async def withdraw_all(self) -> None:
        """Take everything back, once `run` has ended; at most as long as one call to the node may take.

        A model with streams is only hidden: they go on, and the next orchd finds them.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.call_timeout_s):
                while any(isinstance(self._step(name, {}), Upsert | Unregister) for name in self._registrations):
                    self._changed.clear()
                    await self._turn({})
                    await self._changed.wait()
        await cancel(*self._calls.values())

    def _offers(self) -> dict[str, Offer]:
        """Return what gateways are to find, by capability name."""
        node = self._listings.node
        if NAME not in node.registries:
            if node.program is NodeProgram.LIVEPEER_NODE and not self._calls:
                self._registrations.clear()  # It never had such a registry, so nothing is there to be taken back.
            return {}
        if node.up:
            self._open.look(node.epoch)
        return {offer.capability: offer for offer in self._listings.offers.now.values()}

    async def _turn(self, offers: dict[str, Offer]) -> float:
        """Begin what is due now, and return when to decide again (loop clock)."""
        if self._broken is not None:
            raise self._broken
        up = self._listings.node.up
        if up and not self._was_up:
            self._registrations = {name: registration.retried() for name, registration in self._registrations.items()}
        self._was_up = up
        until = inf
        due: dict[str, ByocCall | AskToken] = {}
        self._keys |= {name: offer.key for name, offer in offers.items()}
        for name in (self._registrations.keys() | offers.keys()) - self._calls.keys():
            step = self._step(name, offers)
            if isinstance(step, WaitUntil):
                until = min(until, step.until)
            else:
                due[name] = step
        self._drop_empty(offers)
        await self._remember({name: step.record for name, step in due.items() if isinstance(step, Upsert)})
        self._publish(offers)
        for name in sorted(due, key=lambda name: self._turn_of(name, due[name]))[: AT_ONCE - len(self._calls)]:
            call, before = due[name], self._registrations.get(name, Registration())
            if not isinstance(call, AskToken):  # Now, or the next turn would not keep it as what the node may hold.
                self._registrations[name] = registrations.calling(before, call)
            work = self._check(name) if isinstance(call, AskToken) else self._tell(name, call, before)
            task = self._calls[name] = spawn(work, name=f"byoc {name}")
            task.add_done_callback(partial(self._done, name))
        return until

    def _turn_of(self, name: str, step: ByocCall | AskToken) -> tuple[int, float]:
        """Return what to sort by: withdrawals, registrations, then checks, the one that has waited longest first."""
        if isinstance(step, AskToken):
            return 2, self._registrations[name].check_at
        return (1 if isinstance(step, Upsert) and step.record.capacity > 0 else 0), 0.0

    def _done(self, name: str, task: asyncio.Task[None]) -> None:
        del self._calls[name]
        if not task.cancelled():
            self._broken = self._broken or task.exception()
        self._changed.set()

    def _step(self, name: str, offers: dict[str, Offer]) -> ByocStep:
        registration = self._registrations.get(name, Registration())
        return plan.step(registration, offers.get(name), self._facts(self._keys[name]), self._rules)

    def _facts(self, key: ModelKey) -> Facts:
        node = self._listings.node
        return Facts(
            asyncio.get_running_loop().time(),
            node.up,
            node.epoch,
            node.on_chain,
            self._eth_usd(),
            self._secrets.period(),
            self._listings.streams(key, NAME),
            self._listings.leaks.count(key, NAME),
        )

    def _load(self, key: ModelKey) -> Load:
        taken = self._listings.jobs(key, NAME) + self._listings.streams(key, NAME)
        return Load(taken, self._listings.begun(key))

    async def _tell(self, name: str, call: ByocCall, before: Registration) -> None:
        """Make a call and note what became of it."""
        facts, calling = self._facts(self._keys[name]), self._registrations[name]
        answer: NodeAnswer | None = None
        try:
            answer = await self._send(name, call)
            error = wire.refusal(answer, name, call)
        except NodeError as exc:
            error = wire.unanswered(exc, name, call)
        if wire.nothing_to_take_back(answer, call):
            error = None  # A node without BYOC holds nothing.
            call = Unregister("the node has no BYOC registry any more")
        if error is not None:
            final = wire.is_final(answer, error)
            registration = before if answer else calling
            self._registrations[name] = registrations.failed(
                registration, call, facts, self._rules, error.message, error.code, final=final
            )
            self._troubles.failed(name, error)
            if error.code is Code.NOT_SPOKEN:
                self._watch.suspect()  # It may be another program by now.
            return
        self._troubles.over(name)
        if isinstance(call, Upsert):
            self._registrations[name] = registrations.upserted(before, call.record, facts)
            self._secrets.told(call.record.key.slug, call.record.period)
            log.info("byoc_registered", capability=name, capacity=call.record.capacity, why=call.why)
        else:
            self._registrations[name] = registrations.unregistered(before)
            log.info("byoc_unregistered", capability=name, why=call.why)

    async def _send(self, name: str, call: ByocCall) -> NodeAnswer:
        if isinstance(call, Upsert):
            token = self._secrets.token(call.record.key.slug, call.record.period)
            taken = self._load(call.record.key).taken
            path, body = wire.REGISTER, wire.body_of(call.record, self._settings.callback_url, token, taken)
        else:
            path, body = wire.UNREGISTER, name.encode()
        return await self._client.service("POST", path, body=body, authorization=self._client.secret)

    async def _check(self, name: str) -> None:
        """Ask for a token and note what it shows."""
        registration, key = self._registrations[name], self._keys[name]
        assert registration.record is not None
        facts, before = self._facts(key), self._load(key)
        # Not all models at the same time.
        check_s = self._settings.check_s * random.uniform(0.75, 1.25)
        try:
            charged = registration.record.price.reported(facts.eth_usd)
            seen = await self._probe.ask(name, on_chain=facts.on_chain, free_of_charge=charged == 0)
        except OrchdError as exc:
            self._troubles.check_failed(name, exc)
            self._registrations[name] = replace(registration, seen=None, odd=0, check_at=facts.now + check_s)
            return
        now = asyncio.get_running_loop().time()
        found = registrations.checked(registration, seen, before, self._load(key), now, check_s)
        self._registrations[name] = found
        if self._troubles.looked(name, registration, found, self._listings.others.get(key, "")):
            self._check_all()

    def _check_all(self) -> None:
        """Where one was lost, all may be."""
        now = asyncio.get_running_loop().time()
        for name, registration in self._registrations.items():
            if registration.seen and not is_gone(registration):
                self._registrations[name] = replace(registration, check_at=min(registration.check_at, now))

    async def _recall(self) -> None:
        """Take over what an earlier orchd has told the node."""
        stored = await self._kept.recall()
        self._registrations = {name: Registration(record, sure=False) for name, record in stored.items()}
        self._keys = {name: record.key for name, record in stored.items()}

    def _drop_empty(self, offers: dict[str, Offer]) -> None:
        """Forget names that are no longer offered, and of which nothing is left to know."""
        old = asyncio.get_running_loop().time() - plan.GAP_S
        for name in self._registrations.keys() - offers.keys() - self._calls.keys():
            registration = self._registrations[name]
            of_interest = registration.failures and self._keys[name] in self._listings.offers.why_not
            if registration.record is None and registration.at < old and not of_interest:
                del self._registrations[name]

    async def _remember(self, coming: dict[str, Capability]) -> None:
        """Keep what the node may hold: before it is told more, and when no call is under way."""
        if coming or not self._calls:
            held = {name: one.record for name, one in self._registrations.items() if one.record}
            await self._kept.remember(held | coming)

    def _standing(self, registration: Registration, offer: Offer | None) -> Published:
        target = plan.record_of(offer, self._facts(offer.key)) if offer is not None else None
        return standing(registration, target, self._listings.node.epoch)

    def _publish(self, offers: dict[str, Offer]) -> None:
        """Say how each model stands."""
        shown = self._listings.published[NAME]
        names = {self._keys[name]: name for name, registration in self._registrations.items() if not registration.empty}
        names |= {offer.key: name for name, offer in offers.items()}
        known = self._listings.offers.why_not.keys() if NAME in self._listings.node.registries else set[ModelKey]()
        for key in shown.keys() - names.keys() - known:
            del shown[key]
        for key in names.keys() | shown.keys():
            name = names.get(key, "")
            now = self._standing(self._registrations.get(name, Registration()), offers.get(name))
            before = shown.get(key)
            kept = before is not None and before.published == now.published
            shown[key] = replace(now, since=before.since if before and kept else time.time())


make = ByocRegistry
