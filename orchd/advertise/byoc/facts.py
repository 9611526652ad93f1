"""What decides about the next call to BYOC's registry, besides the offer and what the node was told. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class ByocRules:
    """What of the settings decides when the node is told again.

    Attributes:
        recount_s: seconds between two upserts of a model, where it can't be seen that the node still has it.
        tolerance: share by which ETH/USD may move until a price in USD is told again.
    """

    recount_s: float
    tolerance: Fraction


@dataclass(frozen=True, slots=True)
class Facts:
    """What counts besides the offer.

    Attributes:
        now: loop clock, seconds.
        up, epoch, on_chain: of `NodeStatus`.
        eth_usd: USD that an ETH costs; None = not known.
        period: `RouteSecrets.period()`.
        streams: the model's realtime sessions by BYOC now.
        leaks: slots of its that the node has not given back, ever.
    """

    now: float
    up: bool
    epoch: int
    on_chain: bool | None
    eth_usd: Fraction | None
    period: int
    streams: int
    leaks: int


@dataclass(frozen=True, slots=True)
class Load:
    """What runs of a model.

    Attributes:
        taken: its jobs and streams by BYOC: what the node should count.
        begun: its sessions that have begun, ever.
    """

    taken: int
    begun: int


@dataclass(frozen=True, slots=True)
class TokenSighting:
    """What a token has shown.

    Attributes:
        registered: None = can't be told.
        free: slots that the node would give out; None = it doesn't say.
    """

    registered: bool | None
    free: int | None
