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
import secrets
import time
from dataclasses import replace
from fractions import Fraction
from functools import partial
from math import inf

import structlog

from orchd.advertise.byoc import NAME, plan, wire
from orchd.advertise.byoc import registration as registrations
from orchd.advertise.byoc.kept import KeptCapabilities
from orchd.advertise.byoc.registration import (
    AskToken,
    ByocCall,
    ByocRules,
    ByocStep,
    Capability,
    Facts,
    Registration,
    Unregister,
    Upsert,
    WaitUntil,
)
from orchd.advertise.byoc.standing import is_gone, standing
from orchd.advertise.byoc.token_probe import TokenProbe
from orchd.advertise.registry import RegistryContext
from orchd.advertise.settings import OrchestratorSettings
from orchd.domain.ids import ModelKey
from orchd.domain.offer import NodeProgram, Offer, Published
from orchd.errors import OrchdError
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
    # Unregistering what was never there changes nothing, and only the secret decides whether it is refused
    # (docs/protocol/byoc.md, 2.4).
    name = f"orchd-probe-{secrets.token_hex(8)}".encode()
    return (await client.service("POST", wire.UNREGISTER, body=name, authorization=client.secret)).has_route()


class ByocRegistry:
    """`orchd.advertise.registry.Registry` for BYOC. Make it inside a running loop."""

    def __init__(self, context: RegistryContext) -> None:
        self._client = context.node.calls
        self._listings = context.listings
        self._secrets = context.node.tokens
        self._settings = settings = context.settings
        self._eth_usd = context.eth_usd
        self._kept = KeptCapabilities(context.node.store)
        self._probe = TokenProbe(context.node.calls, context.node.store)
        self._rules = ByocRules(settings.recount_s, Fraction(settings.rate_move_pct) / 100)
        self._registrations: dict[str, Registration] = {}
        self._keys: dict[str, ModelKey] = {}
        self._calls: dict[str, asyncio.Task[None]] = {}
        self._check_error = ""
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
        if NAME not in self._listings.node.registries:
            return {}
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
        for name in sorted(due, key=lambda name: self._turn_of(name, due[name]))[: AT_ONCE - len(self._calls)]:
            task = self._calls[name] = spawn(self._do(name, due[name]), name=f"byoc {name}")
            task.add_done_callback(partial(self._done, name))
        self._publish(offers)
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
            self._listings.active(key),
            self._listings.begun(key),
            self._listings.streams(key, NAME),
        )

    async def _do(self, name: str, step: ByocCall | AskToken) -> None:
        if isinstance(step, AskToken):
            await self._check(name)
        else:
            await self._tell(name, step)

    async def _tell(self, name: str, call: ByocCall) -> None:
        """Make a call and note what became of it."""
        before = self._registrations.get(name, Registration())
        facts = self._facts(self._keys[name])
        calling = self._registrations[name] = registrations.calling(before, call)
        answer: NodeAnswer | None = None
        try:
            answer = await self._send(name, call)
            error = wire.refusal(answer, name, call)
        except NodeError as exc:
            error = wire.unanswered(exc, name, call)
        if error is not None:
            final = wire.is_final(answer, error)
            registration = before if answer else calling
            self._registrations[name] = registrations.failed(
                registration, call, facts, self._rules, error.message, error.code, final=final
            )
            log.warning("byoc_failed", capability=name, error=error.message, code=error.code)
            self._listings.on_error(NAME, error.code)
        elif isinstance(call, Upsert):
            self._registrations[name] = registrations.upserted(before, call.record, facts)
            self._secrets.told(call.record.key.slug, call.record.period)
            log.info("byoc_registered", capability=name, capacity=call.record.capacity, why=call.why)
        else:
            self._registrations[name] = registrations.unregistered(before)
            log.info("byoc_unregistered", capability=name, why=call.why)

    async def _send(self, name: str, call: ByocCall) -> NodeAnswer:
        if isinstance(call, Upsert):
            token = self._secrets.token(call.record.key.slug, call.record.period)
            path, body = wire.REGISTER, wire.body_of(call.record, self._settings.callback_url, token)
        else:
            path, body = wire.UNREGISTER, name.encode()
        return await self._client.service("POST", path, body=body, authorization=self._client.secret)

    async def _check(self, name: str) -> None:
        """Ask for a token and note what it shows."""
        registration, key = self._registrations[name], self._keys[name]
        assert registration.record is not None
        before = self._facts(key)
        # Not all models at the same time.
        check_s = self._settings.check_s * random.uniform(0.75, 1.25)
        try:
            charged = registration.record.price.reported(before.eth_usd)
            seen = await self._probe.ask(name, on_chain=before.on_chain, free_of_charge=charged == 0)
        except OrchdError as exc:
            if exc.message != self._check_error:  # Once, not for each model and minute.
                log.warning("byoc_check_failed", capability=name, error=exc.message, code=exc.code)
            self._check_error = exc.message
            self._registrations[name] = replace(registration, check_at=before.now + check_s)
            return
        found = self._registrations[name] = registrations.checked(registration, seen, before, self._facts(key), check_s)
        if is_gone(found) and not is_gone(registration):
            log.warning("byoc_lost", capability=name)
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
        for key in shown.keys() - names.keys() - self._listings.offers.why_not.keys():
            del shown[key]
        for key in names.keys() | shown.keys():
            name = names.get(key, "")
            now = self._standing(self._registrations.get(name, Registration()), offers.get(name))
            before = shown.get(key)
            kept = before is not None and before.published == now.published
            shown[key] = replace(now, since=before.since if before and kept else time.time())


make = ByocRegistry
