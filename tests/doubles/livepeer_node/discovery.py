"""PURE. What `GET /discovery` shows. Source: livepeer-node.md 11. Off-chain there is no price."""

from __future__ import annotations

import random
from typing import Any

from tests.doubles.livepeer_node.manners import ProxyTemplate
from tests.doubles.livepeer_node.registry import Registry, Runner


def listing(registry: Registry, base_url: str, template: ProxyTemplate) -> list[dict[str, Any]]:
    """Return the whole answer: one element. Full runners are not in it; the order says nothing."""
    shown = [runner for runner in registry.runners() if registry.usable(runner) and runner.free > 0]
    random.shuffle(shown)
    return [{"address": base_url, "runners": [_shown(runner, base_url, template) for runner in shown]}]


def _shown(runner: Runner, base_url: str, template: ProxyTemplate) -> dict[str, Any]:
    entry = runner.entry
    fields = {
        "url": _url(runner, base_url, template),
        "app": entry.app,
        "version": entry.version,
        "metadata": entry.metadata,
        "gpu": entry.gpu,
        "mode": entry.mode,
        "capacity": entry.capacity,
        "capacity_used": len(runner.sessions),
        "capacity_available": runner.free,
    }
    return {name: value for name, value in fields.items() if value not in (None, "")}


def _url(runner: Runner, base_url: str, template: ProxyTemplate) -> str:
    if runner.persistent:
        return f"{base_url}/apps/{runner.runner_id}/session"
    return template.url(runner.runner_id) if runner.entry.proxy else f"{base_url}/apps/{runner.runner_id}/app"
