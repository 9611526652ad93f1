"""`GET /discovery` and the prices in it. Source: live-runner.md 6, 7."""

from __future__ import annotations

import random
from fractions import Fraction
from typing import Any

from tests.doubles.golivepeer.live_entries import PriceInfo
from tests.doubles.golivepeer.live_registry import Registry, Runner

_WEI_PER_ETH = 10**18
_PIXELS_720P_HOUR = 3600 * 1280 * 720 * 30
_UNITS = {"hour": ("seconds", 3600), "720p": ("720p-pixel-seconds", _PIXELS_720P_HOUR), "fixed": ("fixed", 1)}


def price_shown(price: PriceInfo, eth_usd: Fraction) -> dict[str, Any] | None:
    """Return the price in whole wei at `eth_usd` dollars per ETH; None below 1 wei, as if the feed had failed."""
    unit, parts = _UNITS[price.unit]
    wei = price.price / parts / eth_usd * _WEI_PER_ETH
    whole = wei.numerator // wei.denominator
    return {"price": whole, "currency": "wei", "unit": unit} if whole else None


def listing(registry: Registry, base_url: str, proxy_url: str, eth_usd: Fraction | None) -> list[dict[str, Any]]:
    """Return the whole answer: one element, `runners` absent when none is ready. `eth_usd` None: off-chain."""
    ready = [runner for runner in registry.runners() if registry.usable(runner)]
    random.shuffle(ready)
    if not ready:
        return [{"address": base_url}]
    shown = [{"url": _url(runner, base_url, proxy_url), **_shown(runner, eth_usd)} for runner in ready]
    return [{"address": base_url, "runners": shown}]


def _shown(runner: Runner, eth_usd: Fraction | None) -> dict[str, Any]:
    entry = runner.entry
    fields = {
        "gpu": entry.gpu,
        "app": entry.app,
        "version": entry.version,
        "metadata": entry.metadata,
        "mode": entry.mode,
        "capacity": entry.capacity,
        "capacity_used": len(runner.sessions),
        "capacity_available": runner.free,
        "price_info": runner_price(runner, eth_usd),
    }
    return {name: value for name, value in fields.items() if value not in (None, "", {})}


def runner_price(runner: Runner, eth_usd: Fraction | None) -> dict[str, Any] | None:
    """What sessions of the runner cost now; None off-chain, after a feed failure at registration, and below 1 wei."""
    if runner.entry.price is None or eth_usd is None or not runner.priceable:
        return None
    return price_shown(runner.entry.price, eth_usd)


def _url(runner: Runner, base_url: str, proxy_url: str) -> str:
    if runner.persistent:
        return f"{base_url}/apps/{runner.route}/session"
    return proxy_url.format(proxy=runner.route) if runner.entry.proxy else f"{base_url}/apps/{runner.route}/app"
