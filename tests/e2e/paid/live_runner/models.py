"""What is on sale in these tests, and the settings with which orchd sells it. Pure."""

from __future__ import annotations

from typing import Any

from orchd.domain.ids import ModelKey
from tests.e2e.scripts import PIPELINE

PRICE = 83_333_333_334
"""Wei a second: 0.90 USD an hour at 3,000 USD per ETH, rounded up."""
FIXED_PRICE = 10**13
"""Wei a session, or a job: more than one ticket may be worth."""
LIVE, FIXED, LIVE_JOB, FIXED_JOB, FREE = ("live", "fixed", "live-job", "fixed-job", "free")
"""Sessions that are paid by the second, and once; jobs likewise; and sessions for nothing."""
_CALM = {"interval_s": 5, "failures": 1000}
_SOLD = {
    LIVE: ("persistent", "second", PRICE),
    FIXED: ("persistent", "fixed", FIXED_PRICE),
    LIVE_JOB: ("single-shot", "second", PRICE),
    FIXED_JOB: ("single-shot", "fixed", FIXED_PRICE),
    FREE: ("persistent", "second", 0),
}


def entries(url: str, **more: Any) -> list[dict[str, Any]]:
    """Return the entries of all models, which one runner serves.

    Args:
        more: fields of each.
    """
    common = {"pipeline": PIPELINE, "url": url, "maxSessions": 4, "health": _CALM, **more}
    return [
        {**common, "model_id": name, "mode": mode, "price_unit": unit, "price_per_unit": wei}
        for name, (mode, unit, wei) in _SOLD.items()
    ]


def key_of(name: str) -> ModelKey:
    """Return the key of a model."""
    return ModelKey(PIPELINE, name)


def app_of(name: str) -> str:
    """Return what clients ask discovery for."""
    return str(key_of(name))


def path_of(name: str) -> str:
    """Return where a model's sessions are reserved, or its jobs are sent."""
    tail = "session" if _SOLD[name][0] == "persistent" else "app"
    return f"/apps/{key_of(name).slug}/{tail}"
