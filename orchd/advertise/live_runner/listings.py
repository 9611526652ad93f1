"""What both ways of telling Live Runner share: what is to be listed, under which URL, and how it stands."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from fractions import Fraction

import structlog

from orchd.advertise.live_runner import NAME
from orchd.advertise.live_runner.dialects import spoken_by
from orchd.advertise.live_runner.dialects.dialect import Dialect
from orchd.advertise.live_runner.others import others
from orchd.advertise.live_runner.plan import RunnerRecord
from orchd.advertise.live_runner.prices import live_price, why_none
from orchd.advertise.live_runner.wire import DiscoveredRunner, difference, in_words, live_url, read_discovery
from orchd.advertise.prices import Unpublishable
from orchd.advertise.registry import RegistryContext
from orchd.domain.ids import ModelKey
from orchd.domain.model import Secret
from orchd.domain.offer import NodeStatus, Published
from orchd.domain.redact import scrub
from orchd.errors import Code, OrchdError
from orchd.node.ports import NodeError

log = structlog.get_logger("orchd.live_runner")

CALLS = 8
"""Most at once; never two for one model. As many again that end sessions."""


class LiveListings:
    """Says for one registry what is wanted in it, and keeps `listings.published` of it.

    Attributes:
        turns: taken around each call.
        check_asked: set when discovery is to be read soon.
        ending: orchd takes everything back, so what goes is not lost.
    """

    def __init__(self, context: RegistryContext) -> None:
        self._context = context
        self._published = context.listings.published[NAME]
        self._records: dict[ModelKey, RunnerRecord | None] = {}
        self._errors: dict[ModelKey, OrchdError | None] = {}
        self._doubts: dict[ModelKey, str] = {}
        self._full: set[ModelKey] = set()
        self._shown: dict[ModelKey, str] = {}
        """Doubts that were seen twice."""
        self.turns = asyncio.Semaphore(CALLS)
        self.check_asked = asyncio.Event()
        self.ending = False

    @property
    def node(self) -> NodeStatus:
        return self._context.listings.node

    @property
    def dialect(self) -> Dialect:
        return spoken_by(self.node)

    @property
    def spoken(self) -> bool:
        """The node was seen, and this registry of it is used."""
        return self.node.epoch > 0 and NAME in self.node.registries

    @property
    def unused(self) -> bool:
        """The node was seen, and this registry of it is not used, or not any more: what it had is gone."""
        return self.node.epoch > 0 and not self.spoken

    def known(self, key: ModelKey) -> bool:
        """Return whether the model is still one of ours, offered or not."""
        offers = self._context.listings.offers
        return key in offers.now or key in offers.why_not

    def wanted(self, key: ModelKey) -> tuple[RunnerRecord | None, OrchdError | None]:
        """Return what is to be listed, and why nothing is although the model is offered."""
        offer = self._context.listings.offers.now.get(key)
        if offer is None or not self.node.epoch:  # Which prices can be published depends on the node.
            return None, None
        if offer.live_runner_gap:
            return None, OrchdError(
                f"cannot serve Live Runner's clients: {offer.live_runner_gap}", code=Code.UNSERVABLE
            )
        price = live_price(offer.price, self._context.eth_usd(), self.dialect.terms, on_chain=self.node.on_chain)
        if isinstance(price, Unpublishable):
            return None, OrchdError(f"cannot publish the price: {price.reason}", code=Code.PRICE_UNPUBLISHABLE)
        return RunnerRecord(offer.capability, offer.persistent, offer.capacity, price, details=offer.details), None

    def why_no_price(self, key: ModelKey) -> str:
        """Return why a model's price is not sent to a node that may be on chain; empty = it is known to be not."""
        offer = self._context.listings.offers.now.get(key)
        if offer is None or self.node.on_chain is not None:
            return ""
        return why_none(offer.price, self._context.eth_usd())

    def url(self, key: ModelKey) -> Secret:
        """Return where the node reaches the model; only the node may know it."""
        return live_url(self._context.settings.callback_url, key.slug, self._context.node.tokens.segment(key.slug))

    def clean(self, key: ModelKey, text: str, sent: Secret | None = None) -> str:
        """Return the node's words without what they may quote of ours; `sent`: the credential that it was sent."""
        told = [self._context.node.tokens.segment(key.slug), self._context.node.calls.secret, sent]
        return scrub(text, {secret.value for secret in told if secret is not None})

    async def discover(self) -> dict[str, DiscoveredRunner] | None:
        """Return what the node lists, by route; None = it did not say."""
        try:
            answer = await self._context.node.calls.service("GET", "/discovery")
            if answer.status != 200:
                raise NodeError(f"cannot read {self.dialect.name}'s discovery: it answered {answer.status}")
            found = read_discovery(answer.json())
            context = self._context
            context.listings.others = others(found, context.listings.offers, context.instance, context.node.tokens.tag)
            return found
        except (NodeError, ValueError) as exc:
            log.debug("discovery_failed", error=str(exc))
            return None

    def free(self, key: ModelKey) -> int | None:
        """Return how many sessions of a model the node may have now; None = as many as there may be at all."""
        return self._context.listings.slots.capacity(key)

    def say(self, key: ModelKey, *, record: RunnerRecord | None, error: OrchdError | None, full: bool = False) -> None:
        """Keep how a model stands.

        Args:
            record: as the node has it; None = it does not.
            error: of the last call, or why there was none.
            full: nothing is to be listed as long as no slot is free.
        """
        name = {"pipeline": key.pipeline, "model_id": key.model_id}
        if record is None and self.unused:
            if key in self._published and self._published[key].published:
                log.info("live_runner_lost", **name)
            self.forget(key)
            return
        before, former = self._errors.get(key), self._published.get(key, _NOTHING)
        was_full = former.full
        (self._full.add if full else self._full.discard)(key)
        if error is not None and (before is None or before.message != error.message):
            # What is the node's own is said once, and not by each of a hundred models: by the watch that it is away.
            away = error.code in (Code.NODE_UNREACHABLE, Code.NODE_CERTIFICATE)
            say = log.debug if away or (error.code is Code.NODE_SECRET and self._has(error.code, key)) else log.warning
            say("live_runner_error", **name, code=error.code, error=error.message)
            self._context.listings.on_error(NAME, error.code)
        self._errors[key] = error
        if record != self._records.get(key):
            self._records[key] = record
            self._doubts.pop(key, None)
            self._shown.pop(key, None)
            self.check_asked.set()
        if former.published != (record is not None):
            lost = key in self._context.listings.offers.now and not self.ending
            if full or was_full:  # As often as once a second.
                log.debug("live_runner_full" if full else "live_runner_free", **name)
            else:
                log.info(
                    "live_runner_registered" if record else "live_runner_lost" if lost else "live_runner_withdrawn",
                    **name,
                )
            former = replace(_NOTHING, since=time.time())
        if record is None and not self.known(key):
            self.forget(key)
        else:
            self._write(key, former, record)

    def _has(self, code: Code, key: ModelKey) -> bool:
        """Return whether a model other than `key` has this error."""
        return any(error is not None and error.code is code and each != key for each, error in self._errors.items())

    def forget(self, key: ModelKey) -> None:
        """A model is gone, here and at the node."""
        self._published.pop(key, None)
        self._records.pop(key, None)
        self._errors.pop(key, None)
        self._full.discard(key)
        self._doubts.pop(key, None)
        self._shown.pop(key, None)

    def compare(self, key: ModelKey, record: RunnerRecord | None, seen: DiscoveredRunner | None, used: int) -> str:
        """Keep what discovery shows of a model, and return in what that is not what it should show; empty = in nothing.

        A doubt is told only when it is seen twice: the first comparison may have been in the middle of a change.

        Args:
            record: as the node should have it; None = not at all.
            used: sessions that the node has on it.
        """
        former = self._published.get(key)
        if former is None:
            return ""
        hidden = record is not None and seen is None and self.hidden(key, record, used)
        doubt = "" if hidden else self._doubt(record, seen)
        if not doubt:
            self._shown.pop(key, None)
        elif doubt == self._doubts.get(key) and doubt != self._shown.get(key):
            self._shown[key] = doubt
            log.warning("live_runner_doubt", pipeline=key.pipeline, model_id=key.model_id, doubt=doubt)
        self._doubts[key] = doubt
        confirmed = former.confirmed
        if not hidden and (not doubt or key in self._shown):
            confirmed = seen is not None and (not doubt or record is None)
        self._write(key, replace(former, confirmed=confirmed), record)
        return doubt

    def hidden(self, key: ModelKey, record: RunnerRecord, used: int) -> bool:
        """Return whether discovery does not show a model although the node has it so; `used` as for `compare`."""
        use = max(used, self._context.listings.slots.at_node(key))
        return not record.ready or (self.dialect.hides_full and use >= record.capacity)

    def _doubt(self, record: RunnerRecord | None, seen: DiscoveredRunner | None) -> str:
        if record is None:
            return "" if seen is None else "it is still listed"
        if seen is None:
            return "it is not listed"
        if not record.ready:
            return "it is still listed"
        tolerance = Fraction(self._context.settings.rate_move_pct) / 100
        return difference(
            record, seen, self._context.eth_usd(), tolerance, self.dialect.terms, on_chain=self.node.on_chain
        )

    def _write(self, key: ModelKey, former: Published, record: RunnerRecord | None) -> None:
        error, doubt = self._errors.get(key), self._shown.get(key, "")
        unsure = f"cannot confirm what {self.dialect.name} offers: {doubt}" if doubt else ""
        said = error.message if error else unsure
        full = key in self._full and record is None
        self._published[key] = replace(
            former,
            wanted=key in self._context.listings.offers.now and not full,
            published=record is not None,
            full=full,
            error=said,
            code=error.code if error else Code.NODE_REFUSED if doubt else None,
            price=in_words(record.price) if record else "",
        )


_NOTHING = Published(wanted=False, published=False, confirmed=None, since=0.0)
