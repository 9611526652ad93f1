"""PURE. What a runner says of itself, in a heartbeat or a static registration, and the rules that it must keep.

The texts of `BadEntry` marked [run] in live-runner.md are the node's; the others are worded alike.
Source: live-runner.md 2.1, 3.1, 6.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any
from urllib.parse import urlsplit

from tests.doubles.shared import go_json
from tests.doubles.shared.go_json import GoJsonError, Number

PERSISTENT, SINGLE_SHOT = "persistent", "single-shot"
_MODES = {"": PERSISTENT, "persistent": PERSISTENT, "single-shot": SINGLE_SHOT, "single_shot": SINGLE_SHOT}
_METADATA_LIMIT = 1024
_UNITS = {"": "hour", "hour": "hour", "720p": "720p", "fixed": "fixed"}
_DECIMAL = re.compile(r"-?\d+(\.\d*)?([eE][+-]?\d+)?")


class BadEntry(Exception):
    """A rule is broken: 400 with this text."""


@dataclass(frozen=True)
class PriceInfo:
    """US dollars per `unit`: hour, 720p (an hour of 1280x720 at 30 frames a second), or fixed (a session)."""

    price: Fraction
    unit: str


@dataclass(frozen=True)
class Entry:
    runner_url: str
    app: str
    version: str
    metadata: str
    mode: str
    capacity: int
    proxy: bool
    gpu: dict[str, Any] | None
    price: PriceInfo | None


@dataclass(frozen=True)
class StaticEntry:
    label: str
    by_label: bool
    """Routed by the label, not by the generated id."""
    health_url: str
    healthy_status_code: int
    entry: Entry


def parse_entry(said: dict[str, Any], *, on_chain: bool) -> Entry:
    """Raises BadEntry; GoJsonError for a field of the wrong type."""
    runner_url = _string(said, "runner_url")
    if not is_absolute(runner_url):
        raise BadEntry("invalid runner_url")
    app = _string(said, "app")
    if not app or app != app.strip():
        raise BadEntry("app must be trimmed")
    metadata = _string(said, "metadata")
    if len(metadata.encode()) > _METADATA_LIMIT or "\N{REPLACEMENT CHARACTER}" in metadata:
        raise BadEntry(f"metadata must be at most {_METADATA_LIMIT} bytes of valid UTF-8")
    mode = _string(said, "mode")
    if mode not in _MODES:
        raise BadEntry("mode must be persistent or single-shot")
    capacity = go_json.integer(go_json.field(said, "capacity"), ".capacity", go_type="int")
    if capacity < 0:
        raise BadEntry("capacity must not be negative")
    return Entry(
        runner_url=runner_url,
        app=app,
        version=_string(said, "version"),
        metadata=metadata,
        mode=_MODES[mode],
        capacity=capacity or 1,
        proxy=_boolean(said, "proxy"),
        gpu=_gpu(go_json.field(said, "gpu")),
        price=_price(go_json.field(said, "price_info"), on_chain),
    )


def parse_static(said: dict[str, Any], *, on_chain: bool) -> StaticEntry:
    """Raises BadEntry, GoJsonError."""
    label = _string(said, "label")
    if not label or label != label.strip():
        raise BadEntry("label must be trimmed")
    routing = _string(said, "routing")
    if routing not in ("", "runner-id", "label"):
        raise BadEntry("routing must be runner-id or label")
    if routing == "label" and "/" in label:
        raise BadEntry("label must not contain / with label routing")
    entry = parse_entry(said, on_chain=on_chain)
    health_url = _string(said, "health_url")
    if not health_url:
        raise BadEntry("health_url is required")
    if health_url.startswith("/"):
        # Appended, not resolved: the path of runner_url stays in front.
        health_url = entry.runner_url.rstrip("/") + health_url
    if not is_absolute(health_url):
        raise BadEntry("invalid health_url")
    code = go_json.integer(go_json.field(said, "healthy_status_code"), ".healthy_status_code", go_type="int")
    if code and not 100 <= code <= 599:
        raise BadEntry("healthy_status_code must be between 100 and 599")
    return StaticEntry(label, routing == "label", health_url, code or 200, entry)


def is_absolute(url: str) -> bool:
    """An http or https URL with a host."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname)


def _string(said: dict[str, Any], name: str) -> str:
    return go_json.string(go_json.field(said, name), f".{name}")


def _boolean(said: dict[str, Any], name: str) -> bool:
    value = go_json.field(said, name)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise GoJsonError(f"json: cannot unmarshal {go_json.kind(value)} into Go struct field .{name} of type bool")


def _gpu(value: Any) -> dict[str, Any] | None:
    """A number means a GPU of the node's host, and this node has none: left out."""
    if value is None or isinstance(value, Number):
        return None
    if not isinstance(value, dict):
        raise GoJsonError(f"json: cannot unmarshal {go_json.kind(value)} into Go struct field .gpu")
    shown = {
        "id": _string(value, "id"),
        "name": _string(value, "name"),
        "vram_mb": go_json.integer(go_json.field(value, "vram_mb"), ".gpu.vram_mb", go_type="int"),
    }
    return {name: part for name, part in shown.items() if part}


def _price(value: Any, on_chain: bool) -> PriceInfo | None:
    """Off-chain a price is parsed and forgotten: only text that is no number is refused."""
    said = value if isinstance(value, dict) else {}
    amount = go_json.field(said, "price")
    if isinstance(amount, bool | dict | list) or (amount is not None and not _DECIMAL.fullmatch(str(amount))):
        raise BadEntry("price_info.price must be a decimal number")
    if not on_chain:
        return None
    if amount is None:
        raise BadEntry("price_info.price is required")
    if Fraction(str(amount)) <= 0:
        raise BadEntry("price_info.price must be positive")
    if _string(said, "currency") not in ("", "usd"):
        raise BadEntry("price_info.currency must be usd")
    unit = _string(said, "unit")
    if unit not in _UNITS:
        raise BadEntry("price_info.unit must be hour, 720p, or fixed")
    return PriceInfo(Fraction(str(amount)), _UNITS[unit])
