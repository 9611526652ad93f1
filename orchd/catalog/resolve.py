"""Entries -> models: defaults filled in, rows of one model joined, duplicates refused. Pure; never raises.

Entries stand alone: what is wrong with one never keeps another from applying. Its problems bear its key where that
can be read, so that `keep` knows whose last good definition is to go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar
from urllib.parse import quote

from orchd.catalog.draft import Draft
from orchd.catalog.launch import KINDS, FileContext, kind_of, launch_of, token_of
from orchd.catalog.parse import RawEntry
from orchd.catalog.profiles import OPTIMISED_TIMEOUT_S, PROFILES, Profile
from orchd.catalog.schema import Entry, Fields
from orchd.catalog.slips import keep_lost, keep_price, keep_profile, leave_to_node
from orchd.domain.details import Details, Gpu
from orchd.domain.ids import ModelKey
from orchd.domain.model import HealthSpec, InferenceSpec, MetricsSpec, Model, StopSpec, StreamSpec
from orchd.domain.money import Currency, Price, PriceUnit
from orchd.domain.state import Problem

_PRICE_FIELDS = frozenset({"gateway", "price_per_unit", "pixels_per_unit", "price_unit", "currency"})
_DEFAULT_GATEWAY = "default"
_IDLE_TIMEOUT_S = 300.0
_SESSION_IDLE_S = 60.0

S = TypeVar("S", HealthSpec, InferenceSpec, MetricsSpec, StopSpec, StreamSpec)


@dataclass(frozen=True, slots=True)
class Resolved:
    """Models in the file's order, and all problems of all entries, in the file's order."""

    models: Mapping[ModelKey, Model]
    problems: tuple[Problem, ...]


def resolve(entries: Iterable[RawEntry], context: FileContext) -> Resolved:
    """Return what the entries ask for; an entry that can't be used is only there in the problems."""
    drafts = [Draft(raw, context.file, strict=context.strict) for raw in entries]
    rows: dict[ModelKey, list[Draft]] = {}
    for draft in drafts:
        if draft.key:
            rows.setdefault(draft.key, []).append(draft)
    models = {}
    for key, group in rows.items():
        base = next((draft for draft in group if _gateway(draft) == _DEFAULT_GATEWAY), group[0])
        last = context.last_good.get(key)
        if last:
            keep_profile(base, last)
        prices = _gateway_prices(base, group, last)
        model = _model(base, key, context)
        for row in group:
            if row is not base and not (_launched(base) or _launched(row)):
                leave_to_node(row, runs=last is not None)
        if model:
            model = replace(model, gateway_prices=prices) if prices else model
            models[key] = keep_lost(base, model, last) if last else model
        if _launched(base) and not base.has("price_per_unit") and not (model and models[key].price):
            base.warning("not offered for pay: it has no price_per_unit (0 = free)")
    return Resolved(models, tuple(problem for draft in drafts for problem in draft.problems))


def _gateway(draft: Draft) -> str:
    """Return whom the row's price is for; addresses are compared without regard to case."""
    return str(draft.value("gateway") or _DEFAULT_GATEWAY).lower()


def _gateway_prices(base: Draft, group: list[Draft], last: Model | None) -> tuple[tuple[str, Price], ...]:
    """Return the prices of the rows that are for one gateway each; a row that is more than that is a duplicate.

    A price that is missing because a row can't be used goes on from the last good definition.
    """
    prices: dict[str, Price] = {}
    last_prices = dict(last.gateway_prices) if last else {}
    seen = {_gateway(base): base}
    if _gateway(base) != _DEFAULT_GATEWAY and (price := _price(base)):
        prices[_gateway(base)] = price
    for row in group:
        if row is base:
            continue
        gateway = _gateway(row)
        differing = [
            row.spelling(name)
            for name in row.names
            if base.names and name not in _PRICE_FIELDS and row.value(name) != base.value(name)
        ]
        if first := seen.get(gateway):
            if _launched(base) or _launched(row):  # to the node, each row that it runs is one more container
                row.error(_second(row, first, gateway, group))
        elif differing:
            row.error(
                f"cannot use this row as a price for one gateway: it differs from entry {base.raw.index + 1} in "
                f"{', '.join(differing)}; only gateway and price may differ"
            )
        else:
            seen[gateway] = row
            if price := keep_price(row, _price(row), last_prices.get(gateway)):
                prices[gateway] = price
            elif not row.has("price_per_unit"):
                row.warning("a row for a gateway without price_per_unit does nothing")
    if any(row.bad for row in group if row is not base):
        prices = {**last_prices, **prices}
    return tuple(prices.items())


def _launched(draft: Draft) -> bool:
    """Return whether orchd is to deal with the entry: it says what to run."""
    return draft.entry.run is not False and any(map(draft.has, KINDS))


def _second(row: Draft, first: Draft, gateway: str, group: list[Draft]) -> str:
    whom = "" if gateway == _DEFAULT_GATEWAY else f" for gateway {gateway}"
    if row.has("url"):
        way_out = "remove one, or put a load balancer in front of the runners and name that in url"
    else:
        equal = sum(_gateway(other) == gateway for other in group)
        way_out = f'remove one, or write "replicas": {equal} in a single entry if you want {equal} runners'
    return (
        f"cannot use a second entry of this model{whom}: entry {first.raw.index + 1} (line {first.raw.line}) is the "
        f"first; {way_out}"
    )


def _price(draft: Draft) -> Price | None:
    entry = draft.entry
    if draft.bad or entry.price_per_unit is None:
        return None
    return Price(
        entry.price_per_unit,
        entry.pixels_per_unit or 1,
        entry.currency or Currency.WEI,
        entry.price_unit or PriceUnit.SECOND,
    )


def _model(draft: Draft, key: ModelKey, context: FileContext) -> Model | None:
    """Return the model of an entry; None if it has a problem, or is left to go-livepeer."""
    entry = draft.entry
    kind = kind_of(draft)
    if kind is None:
        leave_to_node(draft, runs=key in context.last_good)
        return None
    if entry.run is False:
        return None
    name = entry.profile or "byoc"
    profile = PROFILES[name]
    stop = _with(profile.stop, entry.stop)
    launch = launch_of(draft, key, profile, stop.signal, context)
    token = token_of(draft, context)
    replicas = entry.replicas or 1
    max_sessions = _max_sessions(draft, kind, name, profile, replicas)
    if draft.bad or launch is None:
        return None
    patience = (
        max(profile.start_timeout_s, OPTIMISED_TIMEOUT_S) if entry.optimization_flags else profile.start_timeout_s
    )
    stream = _with(profile.stream, entry.stream)
    inference = _with(InferenceSpec(profile.inference_path), entry.inference)
    if "{pipeline}" in inference.path:
        inference = replace(inference, path=inference.path.replace("{pipeline}", quote(key.pipeline)))
    return Model(
        key,
        launch,
        name,
        health=_with(profile.health, entry.health),
        stream=stream if entry.route_prefix is None else replace(stream, route_prefix=entry.route_prefix),
        inference=inference,
        metrics=_with(MetricsSpec(), entry.metrics),
        stop=stop,
        start_timeout_s=entry.start_timeout_s or patience,
        loading_timeout_s=entry.loading_timeout_s or patience,
        replicas=replicas,
        max_sessions=max_sessions,
        sessions_per_replica=profile.sessions_per_replica,
        warm=bool(entry.warm),
        idle_timeout_s=entry.idle_timeout_s or _IDLE_TIMEOUT_S,
        token=token,
        price=_price(draft) if _gateway(draft) == _DEFAULT_GATEWAY else None,
        capability=entry.capability,
        persistent=profile.stream.post_starts_stream if entry.mode is None else entry.mode == "persistent",
        session_idle_s=entry.session_idle_s or _SESSION_IDLE_S,
        details=_details(entry),
    )


def _details(entry: Entry) -> Details:
    gpu = dict(entry.gpu.given()) if entry.gpu else {}
    return Details(Gpu(**gpu) if gpu else None, entry.version or "", entry.metadata or "")


def _with(spec: S, section: Fields | None) -> S:
    """Return the spec with the fields that a section of the entry has in place of its own."""
    given = dict(section.given()) if section is not None else {}
    return replace(spec, **given) if given else spec


def _max_sessions(draft: Draft, kind: str, profile_name: str, profile: Profile, replicas: int) -> int:
    """Return the most sessions over all replicas, after checking it against everything that it depends on."""
    entry = draft.entry
    sessions, capacity = entry.max_sessions, entry.capacity
    if sessions and capacity and sessions != capacity:
        spelling = draft.spelling("max_sessions")
        draft.error(
            f"cannot tell which is meant: {spelling} is {sessions} and capacity is {capacity}; make them agree",
            "capacity",
        )
    if draft.has("capacity") and kind != "url":
        draft.warning("go-livepeer means a number of containers by it, orchd sessions: write maxSessions", "capacity")
    wanted = sessions or capacity or 1
    if profile.sessions_per_replica and wanted > replicas:
        way_out = "set it to 1" if kind == "url" else f"lower it to {replicas}, or raise replicas to {wanted}"
        draft.error(
            f"cannot hold {wanted} sessions in {replicas} replica{'s' * (replicas > 1)}: a {profile_name} container "
            f"carries one stream; {way_out}",
            "max_sessions" if sessions else "capacity",
        )
    elif replicas > wanted and not draft.bad:
        draft.warning(f"{replicas} replicas for {wanted} session{'s' * (wanted > 1)}: raise maxSessions", "replicas")
    return wanted
