"""What a slip of the pen would take away from a model that runs, and how it is kept. Pure.

`"wram": true` where `"warm": true` was meant would stop a model that serves. So while a key is unknown and near to a
field that the entry does not have, that field keeps the value that it had in the last good definition.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import fields, is_dataclass, replace
from typing import Any

from orchd.catalog.draft import Draft, UnknownKey
from orchd.catalog.golivepeer import KEYS as NODE_KEYS
from orchd.catalog.launch import KINDS
from orchd.catalog.names import in_style_of, near_miss, near_miss_in_words
from orchd.catalog.schema import Entry
from orchd.domain.model import Model
from orchd.domain.money import Price

_TIMEOUTS = ("start_timeout_s", "loading_timeout_s")
_PLACES: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(KINDS, ("launch",)),
    "price_per_unit": ("price",),
    "pixels_per_unit": ("price.pixels_per_unit",),
    "price_unit": ("price.unit",),
    "currency": ("price.currency",),
    "mode": ("persistent",),
    "capacity": ("max_sessions",),
    "token_file": ("token",),
    "route_prefix": ("stream.route_prefix",),
    "stop": ("stop", "launch.stop_signal"),
    "optimization_flags": ("launch.env", *_TIMEOUTS),
    "env_file": ("launch.env",),
    "memory": ("launch.memory_bytes",),
    "shm_size": ("launch.shm_bytes",),
    **{
        name: (f"launch.{name}",)
        for name in ("port", "entrypoint", "args", "env", "volumes", "gpus", "cpus", "user", "cap_add", "pull")
    },
    "labels": ("launch.labels",),
    **{name: (f"details.{name}",) for name in ("version", "metadata")},
    "init": ("launch.init",),
}
"""Where a model has what a field of its entry says, as paths of attributes; absent = under the field's own name."""
_LONG = 5
"""Letters; a shorter name is near to many words."""
_PRICE_FIELDS = frozenset({"price_per_unit", "pixels_per_unit", "price_unit", "currency"})
LEAVE_IT = 'to leave it to go-livepeer on purpose, write "run": false'


def keep_profile(draft: Draft, last: Model) -> None:
    """Give the entry the profile of the last good definition where its own is lost by a slip.

    Done before the entry becomes a model: most defaults depend on it. Where more keys are unknown than can be looked
    at, the whole definition is kept.
    """
    if draft.more_unknown and not draft.bad:
        draft.error(f"cannot tell what {draft.more_unknown} more unknown keys of a model that runs are meant to say")
    if any(slip.near == ("profile",) for slip in draft.unknown):
        draft.entry = draft.entry.model_copy(update={"profile": last.profile})


def keep_lost(draft: Draft, model: Model, last: Model) -> Model:
    """Return `model`, with what slips in its entry have lost taken from `last`; each is then an error of the entry."""
    for slip in draft.unknown:
        if not slip.near:
            continue
        kept = model
        if slip.near == ("gateway",):
            if last.price is None and last.gateway_prices:
                kept = replace(model, price=None, gateway_prices=last.gateway_prices)
        elif slip.near != ("profile",):
            for place in _places(slip.near, draft):
                kept = _take(kept, last, place.split("."))
        if kept != model or (slip.near == ("profile",) and last.profile != "byoc"):
            _tell(draft, slip)
        model = kept
    return model


def keep_price(draft: Draft, price: Price | None, last: Price | None) -> Price | None:
    """As `keep_lost`, for a row that is only a further price."""
    for slip in draft.unknown:
        if last is None or len(slip.near) != 1 or slip.near[0] not in _PRICE_FIELDS:
            continue
        kept = last if price is None else price
        if price and slip.near != ("price_per_unit",):
            kept = _take(price, last, _PLACES[slip.near[0]][0].split(".")[1:])
        if kept != price:
            _tell(draft, slip)
        price = kept
    return price


def leave_to_node(draft: Draft, *, runs: bool) -> None:
    """Judge an entry without image, command and url: left to the node on purpose, or by a slip.

    Args:
        runs: its model has a last good definition.
    """
    if draft.bad or draft.entry.run is False:
        return
    if draft.entry.run:
        draft.error("cannot run this: it has none of image, command, url", "run")
        return
    for unknown in draft.unknown:
        if len(unknown.path) == 1 and (kind := near_miss_in_words(unknown.path[0], KINDS)):
            meant = in_style_of(unknown.path[0], kind)
            draft.escalate(
                unknown,
                f"cannot tell what to run: {unknown.path[0]} is an unknown key, did you mean {meant}? Without {meant} "
                f"nothing would run; {LEAVE_IT}",
            )
            return
    if own := _orchd_s_own(draft):
        draft.error(
            f"cannot tell what to run: it has none of image, command, url, but {', '.join(own[:5])}, which only orchd "
            f"reads; add one of the three; {LEAVE_IT}"
        )
    elif runs:
        draft.error(
            "cannot tell whether this model may stop: it runs now, and its entry has none of image, command, url; "
            f"add one of the three; {LEAVE_IT}"
        )
    else:
        draft.warning("left to go-livepeer: it has none of image, command, url")


def _orchd_s_own(draft: Draft) -> list[str]:
    """Return the keys, as written, that go-livepeer does not read: those, and slips of those."""
    own = [draft.spelling(name) for name in draft.names if draft.spelling(name).lower() not in NODE_KEYS]
    fields_of_ours = [name for name in Entry.model_fields.keys() - set(NODE_KEYS) if len(name) >= _LONG]
    slips = dict.fromkeys(unknown.path[0] for unknown in draft.unknown if len(unknown.path) == 1)
    return own + [slip for slip in slips if near_miss(slip, fields_of_ours)]


def _places(near: tuple[str, ...], draft: Draft) -> Iterable[str]:
    name, *inside = near
    if name == "gpu":
        yield "details.gpu"  # As a whole: with a slip in it, it may be none.
        return
    if inside:
        yield ".".join(near)
        if near == ("stop", "signal"):
            yield "launch.stop_signal"
        return
    for place in _PLACES.get(name, (name,)):
        if not (place in _TIMEOUTS and draft.has(place)):
            yield place


def _take(value: Any, last: Any, path: list[str]) -> Any:
    """Return `value` with what is at `path` taken from `last`; unchanged where one of the two has no such place."""
    name, *rest = path
    if not (_has(value, name) and _has(last, name)):
        return value
    inner = getattr(last, name)
    return replace(value, **{name: _take(getattr(value, name), inner, rest) if rest else inner})


def _has(value: Any, name: str) -> bool:
    return is_dataclass(value) and any(each.name == name for each in fields(value))


def _tell(draft: Draft, slip: UnknownKey) -> None:
    written, meant = slip.path[-1], in_style_of(slip.path[-1], slip.near[-1])
    draft.escalate(
        slip,
        f"cannot use the unknown key {written}: did you mean {meant}? Until this is mended, {meant} keeps its last "
        "good value. If it is a note of yours, begin its name with _",
    )
