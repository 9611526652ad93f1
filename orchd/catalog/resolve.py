"""Entries -> models: defaults filled in, rows of one model joined, duplicates refused. Pure; never raises.

Entries stand alone: what is wrong with one never keeps another from applying. Its problems bear its key where that
can be read, so that `keep` knows whose last good definition is to go on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from urllib.parse import quote

from orchd.catalog.draft import Draft
from orchd.catalog.launch import World, kind_of, launch_of, token_of
from orchd.catalog.parse import RawEntry
from orchd.catalog.profiles import OPTIMISED_TIMEOUT_S, PROFILES, Profile
from orchd.domain.ids import ModelKey
from orchd.domain.model import InferenceSpec, MetricsSpec, Model
from orchd.domain.money import Currency, Price, PriceUnit
from orchd.domain.state import Problem

_PRICE_FIELDS = frozenset({"gateway", "price_per_unit", "pixels_per_unit", "price_unit", "currency"})
_DEFAULT_GATEWAY = "default"
_IDLE_TIMEOUT_S = 300.0


@dataclass(frozen=True, slots=True)
class Resolved:
    """Models in the file's order, and all problems of all entries, in the file's order."""

    models: Mapping[ModelKey, Model]
    problems: tuple[Problem, ...]


def resolve(entries: Iterable[RawEntry], world: World) -> Resolved:
    """Return what the entries ask for; an entry that can't be used is only there in the problems."""
    drafts = [Draft(raw, world.file) for raw in entries]
    rows: dict[ModelKey, list[Draft]] = {}
    for draft in drafts:
        if draft.key:
            rows.setdefault(draft.key, []).append(draft)
    models = {}
    for key, group in rows.items():
        base = next((draft for draft in group if _gateway(draft) == _DEFAULT_GATEWAY), group[0])
        prices = _gateway_prices(base, group)
        model = _model(base, key, world)
        if model:
            models[key] = replace(model, gateway_prices=prices)
    return Resolved(models, tuple(problem for draft in drafts for problem in draft.problems))


def _gateway(draft: Draft) -> str:
    """Return whom the row's price is for; addresses are compared without regard to case."""
    return str(draft.value("gateway") or _DEFAULT_GATEWAY).lower()


def _gateway_prices(base: Draft, group: list[Draft]) -> tuple[tuple[str, Price], ...]:
    """Return the prices of the rows that are for one gateway each; a row that is more than that is a duplicate."""
    prices: dict[str, Price] = {}
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
            whom = "" if gateway == _DEFAULT_GATEWAY else f" for gateway {gateway}"
            row.error(
                f"cannot use a second entry of this model{whom}: entry {first.raw.index + 1} "
                f"(line {first.raw.line}) is the first; remove one"
            )
        elif differing:
            row.error(
                f"cannot use this row as a price for one gateway: it differs from entry {base.raw.index + 1} in "
                f"{', '.join(differing)}; only gateway and price may differ"
            )
        else:
            seen[gateway] = row
            if price := _price(row):
                prices[gateway] = price
            elif not row.has("price_per_unit"):
                row.warning("a row for a gateway without price_per_unit does nothing")
    return tuple(prices.items())


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


def _model(draft: Draft, key: ModelKey, world: World) -> Model | None:
    """Return the model of an entry; None if it has a problem, or is left to go-livepeer."""
    entry = draft.entry
    kind = kind_of(draft)
    if kind is None:
        if not draft.bad:
            draft.warning("left to go-livepeer: it has none of image, command, url")
        return None
    name = entry.profile or "byoc"
    profile = PROFILES[name]
    stop = replace(profile.stop, **dict(entry.stop.given() if entry.stop else ()))
    launch = launch_of(draft, key, profile, stop.signal, world)
    token = token_of(draft, world)
    replicas = entry.replicas or 1
    max_sessions = _max_sessions(draft, kind, name, profile, replicas)
    if not draft.has("price_per_unit"):
        draft.warning("not offered for pay: it has no price_per_unit (0 = free)")
    if draft.bad or launch is None:
        return None
    patience = (
        max(profile.start_timeout_s, OPTIMISED_TIMEOUT_S) if entry.optimization_flags else profile.start_timeout_s
    )
    stream = replace(profile.stream, **dict(entry.stream.given() if entry.stream else ()))
    inference = replace(
        InferenceSpec(profile.inference_path), **dict(entry.inference.given() if entry.inference else ())
    )
    return Model(
        key,
        launch,
        name,
        health=replace(profile.health, **dict(entry.health.given() if entry.health else ())),
        stream=stream if entry.route_prefix is None else replace(stream, route_prefix=entry.route_prefix),
        inference=replace(inference, path=inference.path.replace("{pipeline}", quote(key.pipeline))),
        metrics=MetricsSpec(**dict(entry.metrics.given() if entry.metrics else ())),
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
    )


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
