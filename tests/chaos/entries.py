"""What stands in aiModels.json."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from orchd.domain.ids import ModelKey

ETH_USD = 3000
JOB_S = 100_000
"""Longer than any run: a job ends when its container says so."""
BATCH, CAM, COLD = ModelKey("llm", "acme/batch"), ModelKey("live-video-to-video", "cam"), ModelKey("tts", "cold")


@dataclass
class Entry:
    """One entry of aiModels.json.

    Attributes:
        wei: per second; 0 = free.
        usd: it is said in USD per hour instead.
    """

    key: ModelKey
    most: int
    wei: int
    streams: bool = False
    warm: bool = True
    usd: bool = False

    @property
    def name(self) -> str:
        return str(self.key)

    def said(self) -> dict[str, Any]:
        usd_hour = Fraction(self.wei * 3600 * ETH_USD, 10**18)
        price = {"price_per_unit": float(usd_hour), "currency": "USD", "price_unit": "hour"}
        return {
            "pipeline": self.key.pipeline,
            "model_id": self.key.model_id,
            "image": "some/image:1",
            "maxSessions": self.most,
            "warm": self.warm,
            "idle_timeout_s": 40,
            "profile": "pytrickle" if self.streams else "byoc",
            "replicas": 2 if self.streams else 1,
            "inference": {"timeout_s": JOB_S},
            **(price if self.usd else {"price_per_unit": self.wei}),
        }


def all_entries(*, on_chain: bool) -> list[Entry]:
    return [
        Entry(BATCH, most=2, wei=300_000_000_000),
        Entry(CAM, most=2, wei=250_000_000_000, streams=True, usd=on_chain),
        Entry(COLD, most=1, wei=0, warm=False),
    ]
