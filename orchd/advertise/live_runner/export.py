"""What a node can be given as a file in place of registrations: its static runners. Pure.

Source: docs/protocol/livepeer-node.md, 7; docs/protocol/live-runner.md, 3.1.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orchd.advertise.export import ExportInput
from orchd.advertise.live_runner.plan import RunnerRecord
from orchd.advertise.live_runner.prices import GO_LIVEPEER, LIVEPEER_NODE, live_price, why_none
from orchd.advertise.live_runner.wire import HEALTH_PATH, live_url, static_document
from orchd.advertise.prices import Unpublishable
from orchd.advertise.registry import runner_id
from orchd.domain.ids import ModelKey
from orchd.domain.model import Model, Secret
from orchd.domain.offer import NodeProgram


@dataclass(frozen=True, slots=True)
class ExportedEntry:
    """One runner of the file.

    Attributes:
        url: where the node reaches the model; it holds the secret.
    """

    runner_id: str
    url: Secret
    record: RunnerRecord


def export(given: ExportInput) -> tuple[str, dict[ModelKey, str]]:
    """Return the file's text, and why models are left out of it."""
    entries: list[ExportedEntry] = []
    left_out: dict[ModelKey, str] = {}
    for model in given.models:
        try:
            record = _record(model, given)
        except ValueError as exc:
            left_out[model.key] = str(exc)
        else:
            slug = model.key.slug
            url = live_url(given.callback_url, slug, given.segment(slug))
            entries.append(ExportedEntry(runner_id(given.instance, model.key), url, record))
    if given.program is NodeProgram.LIVEPEER_NODE:
        return "\n".join(_toml(entries)) + "\n", left_out
    runners = [static_document(each.runner_id, each.url, each.record) for each in entries]
    return json.dumps({"runners": runners}, indent=2, ensure_ascii=False) + "\n", left_out


def _record(model: Model, given: ExportInput) -> RunnerRecord:
    """Raises: ValueError: the model can't be offered."""
    if model.price is None:
        raise ValueError("it has no price_per_unit (0 = free)")
    # Whether the node is on chain is not known: a free model is sent without a price, which is right off chain.
    terms = LIVEPEER_NODE if given.program is NodeProgram.LIVEPEER_NODE else GO_LIVEPEER
    price = live_price(model.price, given.eth_usd, terms, on_chain=None)
    if isinstance(price, Unpublishable):
        raise ValueError(f"cannot publish the price: {price.reason}")
    if price is None and model.price.per_unit:
        raise ValueError(f"cannot publish the price: {why_none(model.price, given.eth_usd)}")
    name = model.name_for_gateways(given.capability)
    return RunnerRecord(name, model.persistent, model.max_sessions, price, details=model.details)


def _toml(entries: Sequence[ExportedEntry]) -> Iterator[str]:
    yield "# RunnerConfig of Livepeer Node, made by `orchd export runners`. Each RunnerURL holds a secret."
    for each in entries:
        yield ""
        yield "[[Runners]]"
        yield f"ID = {_text(each.runner_id)}"
        yield f"App = {_text(each.record.app)}"
        yield f"Mode = {_text('persistent' if each.record.persistent else 'single-shot')}"
        yield f"Capacity = {each.record.capacity}"
        yield f"RunnerURL = {_text(each.url.value)}"
        yield f"HealthURL = {_text(each.url.value + HEALTH_PATH)}"
        details = each.record.details
        if details.version:
            yield f"Version = {_text(details.version)}"
        if details.metadata:
            yield f"Metadata = {_text(details.metadata)}"
        if (gpu := details.gpu) is not None:
            yield "[Runners.GPU]"
            yield f"ID = {_text(gpu.id)}"
            yield f"Name = {_text(gpu.name)}"
            yield f"VRAMMB = {gpu.vram_mb}"
        if (price := each.record.price) is not None:
            yield "[Runners.PriceInfo]"
            # A number: a text ends the node's start.
            yield f"Price = {price.price if '.' in price.price else price.price + '.0'}"
            yield 'Currency = "USD"'
            yield f"Unit = {_text(price.unit.value)}"


def _text(text: str) -> str:
    """Return a TOML string: JSON's escapes are TOML's, but for the halves of large characters, which are not made."""
    return json.dumps(text, ensure_ascii=False)
