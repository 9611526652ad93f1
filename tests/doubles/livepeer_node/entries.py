"""PURE. What a runner says of itself, and the rules that it must keep. Source: livepeer-node.md 5.1, 10."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

from tests.doubles.shared import go_json
from tests.doubles.shared.go_json import GoJsonError, Number

PERSISTENT, SINGLE_SHOT = "persistent", "single-shot"
READY = "ready"
MAX_CAPACITY = 10_000
IDENTIFIER = re.compile(r"[A-Za-z0-9_-]{1,128}")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_DECIMAL = re.compile(r"-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?")

_BAD_JSON = "invalid heartbeat JSON"
_BAD_ID = "runner_id must contain only ASCII letters, digits, '-' or '_' and be at most 128 bytes"
_BAD_APP = f"app and capacity between 1 and {MAX_CAPACITY} are required"
BAD_URL = "runner_url must be an absolute HTTP or HTTPS URL"
_BAD_MODE = "mode must be persistent or single-shot"
_BAD_720P = "720p pricing is unsupported"
_BAD_UNIT = "price_info.unit must be hour or fixed"
_BAD_LABEL = "single-shot domain proxy requires a lowercase DNS-label runner ID of at most 63 characters"


class BadEntry(Exception):
    """A rule is broken: 400 with this text."""


@dataclass(frozen=True)
class Entry:
    """`runner_id` is empty if none was sent. Off-chain a price is tested and forgotten."""

    runner_id: str
    app: str
    runner_url: str
    mode: str = PERSISTENT
    capacity: int = 1
    proxy: bool = False
    status: str = READY
    gpu: dict[str, Any] | None = None
    version: str = ""
    metadata: str = ""


@dataclass(frozen=True)
class Said:
    """An entry as it was sent, types tested and nothing else."""

    entry: Entry
    price: Decimal
    currency: str
    unit: str


def from_json(body: bytes, *, host_template: bool) -> Entry:
    """Return what a heartbeat says; `host_template`: the proxy template has its id in the host part.

    Raises:
        BadEntry: not one JSON object of the right types, or a rule is broken.
    """
    try:
        said = _typed(go_json.decode(body.decode("utf-8", "replace")))
    except (GoJsonError, ValueError):
        raise BadEntry(_BAD_JSON) from None
    return checked(said, host_template=host_template)


def checked(said: Said, *, host_template: bool) -> Entry:
    """Raises BadEntry."""
    entry = said.entry
    if entry.runner_id and not IDENTIFIER.fullmatch(entry.runner_id):
        raise BadEntry(_BAD_ID)
    if not entry.app or not 1 <= entry.capacity <= MAX_CAPACITY:
        raise BadEntry(_BAD_APP)
    if not is_absolute(entry.runner_url):
        raise BadEntry(BAD_URL)
    if entry.mode not in (PERSISTENT, SINGLE_SHOT):
        raise BadEntry(_BAD_MODE)
    if said.unit not in ("hour", "fixed"):
        raise BadEntry(_BAD_720P if said.unit == "720p" else _BAD_UNIT)
    by_host = entry.proxy and entry.mode == SINGLE_SHOT and host_template
    if by_host and entry.runner_id and not _LABEL.fullmatch(entry.runner_id):
        raise BadEntry(_BAD_LABEL)
    if said.price < 0:
        raise BadEntry("runner price must be nonnegative")
    if said.price and said.currency not in ("", "usd"):
        raise BadEntry("runner price currency must be USD")
    return entry


def is_absolute(url: str) -> bool:
    """An http or https URL with a host."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port >= 0)
    except ValueError:
        return False


def _typed(value: Any) -> Said:
    """Raises GoJsonError."""
    said = {} if value is None else value
    if not isinstance(said, dict):
        raise GoJsonError("not an object")
    entry = Entry(
        runner_id=_string(said, "runner_id"),
        app=_string(said, "app"),
        runner_url=_string(said, "runner_url"),
        mode=_string(said, "mode") or PERSISTENT,
        capacity=_integer(said, "capacity") or 1,
        proxy=_boolean(said, "proxy"),
        status=_string(said, "status") or READY,
        gpu=_gpu(go_json.field(said, "gpu")),
        version=_string(said, "version"),
        metadata=_string(said, "metadata"),
    )
    price = go_json.field(said, "price_info")
    if price is None:
        price = {}
    if not isinstance(price, dict):
        raise GoJsonError("price_info is no object")
    unit = _string(price, "unit").lower() or "hour"
    return Said(entry, _price(go_json.field(price, "price")), _string(price, "currency").lower(), unit)


def _string(said: dict[str, Any], name: str) -> str:
    return go_json.string(go_json.field(said, name), f".{name}")


def _integer(said: dict[str, Any], name: str) -> int:
    return go_json.integer(go_json.field(said, name), f".{name}")


def _boolean(said: dict[str, Any], name: str) -> bool:
    value = go_json.field(said, name)
    if value is not None and not isinstance(value, bool):
        raise GoJsonError(f".{name} is no bool")
    return bool(value)


def _price(value: Any) -> Decimal:
    """A JSON number, or a string that is one; none = 0."""
    if value is None:
        return Decimal(0)
    if not isinstance(value, str) or not _DECIMAL.fullmatch(value):
        raise GoJsonError("no number")
    return Decimal(value)


def _gpu(value: Any) -> dict[str, Any] | None:
    """A number is an index, and becomes the id: nothing is looked up."""
    if value is None:
        return None
    if isinstance(value, Number):
        index = go_json.integer(value, ".gpu")
        if index < 0:
            raise GoJsonError("a negative index")
        return {"id": str(index), "name": "", "vram_mb": 0}
    if not isinstance(value, dict):
        raise GoJsonError(".gpu is neither an object nor a number")
    vram_mb = _integer(value, "vram_mb")
    if vram_mb < 0:
        raise GoJsonError("negative memory")
    return {"id": _string(value, "id"), "name": _string(value, "name"), "vram_mb": vram_mb}
