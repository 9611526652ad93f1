"""What is said to Live Runner and what it answers, as bytes and values. Pure.

Source: docs/protocol/live-runner.md, 2, 3, 6 and 7.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, TypeGuard
from urllib.parse import unquote, urlsplit

from orchd.advertise.live_runner.details import load_details, unlike
from orchd.advertise.live_runner.plan import Pace, RunnerRecord
from orchd.advertise.live_runner.prices import LivePrice, PriceInfo, PriceTerms
from orchd.advertise.prices import moved
from orchd.domain.details import NO_DETAILS, Details, dump_details
from orchd.domain.model import Secret
from orchd.domain.money import PriceUnit

HEALTH_PATH = "/health"
"""The path that the node appends to a static runner's URL to ask for its health."""


def live_url(callback_url: str, slug: str, segment: Secret) -> Secret:
    """Return where the node reaches a model; only the node may know it."""
    return Secret(f"{callback_url}/live/{slug}/{segment.value}")


def _said(record: RunnerRecord, url: Secret) -> dict[str, Any]:
    said: dict[str, Any] = {
        "runner_url": url.value,
        "app": record.app,
        "mode": "persistent" if record.persistent else "single-shot",
        "capacity": record.capacity,
    }
    if record.price is not None:
        said["price_info"] = {"price": record.price.price, "currency": "usd", "unit": record.price.unit.value}
    return said | dump_details(record.details)


def heartbeat(runner_id: str, url: Secret, record: RunnerRecord, sessions: frozenset[str]) -> bytes:
    """Return the body of a heartbeat.

    Args:
        url: where the node reaches the model.
        sessions: those that we hold; the node keeps them and does nothing with them.
    """
    status = "ready" if record.ready else "leaving"
    said = {"runner_id": runner_id, "status": status, "session_ids": sorted(sessions), **_said(record, url)}
    return json.dumps(said).encode()


def static_document(label: str, url: Secret, record: RunnerRecord) -> dict[str, Any]:
    """Return an entry of the document for the CLI port; clients find it under its label."""
    return {"label": label, "routing": "label", "health_url": HEALTH_PATH, **_said(record, url)}


@dataclass(frozen=True, slots=True)
class HeartbeatAnswer:
    """The node's answer to a heartbeat.

    Attributes:
        secret: only in the answer to the first one.
        events: URL of the event channel, a credential; only in the answer to the first one.
        sessions: all that the node has on the runner.
    """

    pace: Pace
    sessions: frozenset[str]
    secret: Secret | None = None
    events: Secret | None = None


def is_session_id(name: object) -> TypeGuard[str]:
    """Return whether the node's name of a session can be kept and sent on as it is."""
    return (
        isinstance(name, str)
        and 0 < len(name) <= MOST_ID_BYTES
        and name.isprintable()
        and name == name.strip()
        and len(name.encode("utf-8", "replace")) <= MOST_ID_BYTES
    )


def read_welcome(answer: object, usual: Pace) -> HeartbeatAnswer:
    """Return the parsed answer; what is missing or strange in it counts as absent.

    Args:
        usual: what holds of the pace where the answer does not tell it.

    Raises:
        ValueError: it has no list of sessions, or one that is far too long.
    """
    said = answer if isinstance(answer, dict) else {}
    sessions = said.get("session_ids")
    if not isinstance(sessions, list):
        raise ValueError("it has no session_ids")
    if len(sessions) > MOST_SESSIONS:
        raise ValueError(f"it has {len(sessions)} session_ids, which is more than {MOST_SESSIONS}")
    secret, o2r = said.get("heartbeat_secret"), said.get("o2r")
    events = o2r.get("url") if isinstance(o2r, dict) else None
    return HeartbeatAnswer(
        Pace(
            seconds(said.get("heartbeat_interval")) or usual.interval_s,
            seconds(said.get("heartbeat_ttl")) or usual.ttl_s,
        ),
        frozenset(each for each in sessions if is_session_id(each)),
        Secret(secret) if isinstance(secret, str) and secret else None,
        Secret(events) if isinstance(events, str) and events else None,
    )


SHORTEST_S, LONGEST_S = 0.1, 86_400.0
"""Bounds in seconds of the pace that the node asks for: below, heartbeats would flood it; above, it would hear none."""

MOST_SESSIONS = 10_000
"""Most sessions on one runner; a longer list can't be one of ours."""

MOST_ID_BYTES = 256
"""As for streams of callers (`jobs.stream_body`)."""

_DURATION = re.compile(r"(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|μs|ms|s|m|h)")
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


def seconds(duration: object) -> float | None:
    """Return the seconds of a Go duration, such as `5s` or `1m30s`; None unless it is a pace that makes sense."""
    if not isinstance(duration, str) or len(duration) > 40 or not re.fullmatch(f"(?:{_DURATION.pattern})+", duration):
        return None
    found = sum(float(number) * _SECONDS[unit] for number, unit in _DURATION.findall(duration))
    return found if SHORTEST_S <= found <= LONGEST_S else None


@dataclass(frozen=True, slots=True)
class KeptRegistration:
    """What outlives orchd of a registration: without the secret, orchd would be locked out by its own record."""

    secret: Secret
    events: Secret | None
    record: RunnerRecord


KEPT_NAME = "heartbeat "
"""How the name begins under which the store keeps a registration; the runner's route follows."""


def dump_kept(kept: KeptRegistration) -> str:
    price = kept.record.price
    return json.dumps(
        {
            "secret": kept.secret.value,
            "events": kept.events.value if kept.events else None,
            "app": kept.record.app,
            "persistent": kept.record.persistent,
            "capacity": kept.record.capacity,
            "price": [price.price, price.unit.value] if price else None,
            "details": dump_details(kept.record.details),
        }
    )


def load_kept(text: str) -> KeptRegistration | None:
    """Return what `dump_kept` wrote; None = it can't be read (a newer orchd's)."""
    try:
        said = json.loads(text)
        price = said["price"]
        return KeptRegistration(
            Secret(said["secret"]),
            Secret(said["events"]) if said["events"] else None,
            RunnerRecord(
                said["app"],
                said["persistent"],
                said["capacity"],
                LivePrice(price[0], PriceUnit(price[1])) if price else None,
                details=load_details(said.get("details", {})),
            ),
        )
    except (ValueError, LookupError, TypeError, AttributeError):
        return None


def dump_pace(pace: Pace) -> str:
    return json.dumps([pace.interval_s, pace.ttl_s])


def load_pace(text: str) -> Pace | None:
    """Return what `dump_pace` wrote; None = it can't be read, or is no pace that makes sense."""
    try:
        interval_s, ttl_s = (float(each) for each in json.loads(text))
    except (ValueError, TypeError):
        return None
    return Pace(interval_s, ttl_s) if SHORTEST_S <= interval_s <= ttl_s <= LONGEST_S else None


@dataclass(frozen=True, slots=True)
class DiscoveredRunner:
    """A runner in the node's discovery.

    Attributes:
        used: sessions on it.
    """

    app: str
    persistent: bool
    capacity: int
    used: int
    price: PriceInfo | None
    details: Details = NO_DETAILS


def read_discovery(document: object) -> dict[str, DiscoveredRunner]:
    """Return the runners that are listed, by route; what can't be read is left out.

    Raises:
        ValueError: it is not an answer of a discovery.
    """
    if not isinstance(document, list):
        raise ValueError("it is not a list")
    found: dict[str, DiscoveredRunner] = {}
    for node in document:
        runners = node.get("runners") if isinstance(node, dict) else None
        for runner in runners if isinstance(runners, list) else ():
            try:
                _, _, path = urlsplit(runner["url"]).path.rpartition("/apps/")
                price = runner.get("price_info")
                found[unquote(path.split("/")[0])] = DiscoveredRunner(
                    str(runner["app"]),
                    runner.get("mode", "persistent") == "persistent",
                    int(runner["capacity"]),
                    int(runner["capacity_used"]),
                    PriceInfo(int(price["price"]), str(price["unit"])) if price else None,
                    load_details(runner),
                )
            except (LookupError, TypeError, ValueError, AttributeError, OverflowError):
                continue
    return found


def difference(
    record: RunnerRecord,
    seen: DiscoveredRunner,
    eth_usd: Fraction | None,
    tolerance: Fraction,
    terms: PriceTerms,
    *,
    on_chain: bool | None,
) -> str:
    """Return in what the node's listing differs from what it was told; empty = in nothing.

    Args:
        eth_usd, terms, on_chain: as for `live_runner.prices.live_price`. Where it is not known whether the node is on
            chain, a listing without a price says that it is not.
        tolerance: share of the price by which it may be off, since the node converts at a rate of its own.
    """
    if seen.app != record.app:
        return f"it is listed as {seen.app!r}, not {record.app!r}"
    if seen.persistent != record.persistent:
        return f"it is listed as {'persistent' if seen.persistent else 'single-shot'}"
    if seen.capacity != record.capacity:
        return f"it is listed with capacity {seen.capacity}, not {record.capacity}"
    if other := unlike(record.details, seen.details):
        return f"its {other} is listed as something else"
    if record.price is None or on_chain is False:
        return ""
    if seen.price is None:
        missing = "it is listed without a price, so all sessions are refused: the node's price feed may have failed"
        return missing if on_chain else ""
    asked = record.price.reported(eth_usd, terms)
    if asked is None:
        return ""
    off = (
        moved(Fraction(asked.price), Fraction(seen.price.price), tolerance) and abs(asked.price - seen.price.price) > 1
    )
    if asked.unit != seen.price.unit or off:
        return f"its price is listed as {seen.price.price} wei ({seen.price.unit}), not {asked.price} ({asked.unit})"
    return ""


_PER = {PriceUnit.HOUR: "per hour", PriceUnit.VIDEO_720P: "per hour of 720p video", PriceUnit.FIXED: "per session"}


def in_words(price: LivePrice | None) -> str:
    """Return the price as the registry has it, for people."""
    return f"{price.price} usd {_PER[price.unit]}" if price else "no price"
