"""What gateways are to find, and what became of telling them. Frozen values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from orchd.domain.details import NO_DETAILS, Details
from orchd.domain.ids import ModelKey
from orchd.domain.money import Price
from orchd.errors import Code


@dataclass(frozen=True, slots=True)
class Offer:
    """One model as gateways are to find it.

    Attributes:
        slug: `ModelKey.slug`; names the model in our URLs, which the node decodes and cleans on the way.
        capability: what gateways ask for: BYOC's `name`, Live Runner's `app`.
        capacity: most sessions at once, >= 1.
        persistent: sessions outlive a request (Live Runner's mode `persistent`, else `single-shot`).
        live_runner_gap: why clients of Live Runner's can't use it; empty = they can.
        details: as Live Runner's clients are told them.
    """

    key: ModelKey
    slug: str
    capability: str
    capacity: int
    price: Price
    persistent: bool
    live_runner_gap: str = ""
    details: Details = NO_DETAILS


@dataclass(frozen=True, slots=True)
class Offers:
    """Everything that gateways are to find now.

    Attributes:
        now: by key.
        why_not: for each other model, why it is not offered, in plain words.
    """

    now: dict[ModelKey, Offer]
    why_not: dict[ModelKey, str]


@dataclass(frozen=True, slots=True)
class Published:
    """How one model stands in one registry, for status and metrics.

    Attributes:
        wanted: gateways are to find it there.
        published: the node has taken it, and no withdrawal since.
        confirmed: the node was seen to offer it; None = not looked yet, or it can't be seen there.
        since: Unix time of `published`'s last change.
        error, code: of the last call that failed; empty, None = the last one went well.
        price: as published, in the registry's own words.
        full: it is left out while no slot of it is free. `wanted` is False meanwhile.
    """

    wanted: bool
    published: bool
    confirmed: bool | None
    since: float
    error: str = ""
    code: Code | None = None
    price: str = ""
    full: bool = False


class NodeProgram(StrEnum):
    """Which program the node beside us is. They speak two dialects of Live Runner; BYOC is go-livepeer's alone."""

    GO_LIVEPEER = "go-livepeer"
    LIVEPEER_NODE = "livepeer-node"

    @property
    def in_words(self) -> str:
        """Its name for people."""
        return "Livepeer Node" if self is NodeProgram.LIVEPEER_NODE else "go-livepeer"


@dataclass(frozen=True, slots=True)
class Callback:
    """Whether jobs find the way from the node to orchd, which is the setting `orchestrator.callback_url`.

    Attributes:
        url: the setting.
        by_us: orchd has reached itself there; None = not tried yet.
        by_node: a trial through the node came back to orchd; None = not tried, or it can't be.
        since: Unix time of the last change of these two; 0 = none was tried yet.
        error, code: what is wrong, and what to do; empty, None = nothing is known to be.
        note: what could not be tried, and what the node needs; empty = nothing.
        blocks: it is proved that no job can arrive.
    """

    url: str
    by_us: bool | None = None
    by_node: bool | None = None
    since: float = 0.0
    error: str = ""
    code: Code | None = None
    note: str = ""
    blocks: bool = False


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """The node, as it was seen last.

    Attributes:
        up: its service port answers.
        epoch: starts of it that were seen, the first included; 0 = none yet.
        since: Unix time of the start (or end) that was seen last.
        on_chain: None = not known.
        registries: names of those that are used now, as `orchd.advertise.registries` has them.
        error, code: why it, or a registry of it that the settings want, can't be used; empty, None = all can.
        program: as its answers showed at its last start; None = not seen yet.
        callback: whether its jobs reach us; None = not known here (the advertiser keeps it).
        notes: what is set otherwise than it is found, and does no harm.
    """

    up: bool = False
    epoch: int = 0
    since: float = 0.0
    on_chain: bool | None = None
    version: str = ""
    registries: tuple[str, ...] = ()
    error: str = ""
    code: Code | None = None
    program: NodeProgram | None = None
    callback: Callback | None = None
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What the node is called in texts for people, in the middle of a sentence."""
        return self.program.in_words if self.program else "the node"
