"""What jobs need of other parts, in bundles: each is handed on as one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchd.domain.ids import ModelKey
from orchd.domain.model import Model
from orchd.hooks.terms import Terms, terms_of
from orchd.http1.render import Date
from orchd.lag import LoopLag
from orchd.names import Names
from orchd.realtime.keeper import Keeper
from orchd.realtime.ports import RealtimeStreams
from orchd.sessions.letting_go import LettingGo
from orchd.sessions.table import SessionTable

if TYPE_CHECKING:
    from orchd.domain.sold import SoldSession
    from orchd.node.ports import NodeCalls
    from orchd.realtime.session_channels import OwnSessionChannels
    from orchd.sold.keeper import SoldKeeper
    from orchd.sold.ports import HasSold


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is known of models.

    Attributes:
        served: returns what is served now; the same mapping as long as nothing changes.
        readiness: (ready, why not) of a model, for `/models/.../health`.
        for_node: whether the node is to take a model for healthy, for `/live/.../health`.
        terms: name and price of a model for a payer.
        trial: what to answer to a trial of orchd's own, by its word; None = it is not one.
    """

    served: Callable[[], Mapping[ModelKey, Model]]
    readiness: Callable[[ModelKey], tuple[bool, str]]
    for_node: Callable[[ModelKey], bool]
    terms: Callable[[Model, str], Terms] = terms_of
    trial: Callable[[bytes], bytes | None] = lambda word: None


@dataclass(frozen=True, slots=True)
class SessionKeepers:
    """Who keeps slots and streams.

    Attributes:
        table: who holds which slot.
        letting_go: keeps the slots of jobs that were cut while their runners may be at work.
        streams: keeps realtime sessions.
        node: where those of Live Runner's have their channels; None = there is no node.
        sold: keeps the sessions that orchd sells itself; None = it sells none.
        own_channels: returns how such a session has its channels; None as of `sold`.
    """

    table: SessionTable
    letting_go: LettingGo
    streams: Keeper
    node: NodeCalls | None = None
    sold: SoldKeeper | None = None
    own_channels: Callable[[SoldSession], OwnSessionChannels] | None = None


@dataclass(frozen=True, slots=True)
class LongSessions:
    """The parts whose sessions outlive their requests.

    Attributes:
        sold: None = orchd sells none itself.
    """

    realtime: RealtimeStreams
    sold: HasSold | None = None


@dataclass(frozen=True, slots=True)
class JobClock:
    """What time it is.

    Attributes:
        now: the table's clock, seconds.
        date: the `Date` line for answers that have none.
    """

    now: Callable[[], float]
    date: Date


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The process and the machine around the listeners.

    Attributes:
        env: in which systemd names the sockets that it hands over.
        names: looks up where runners are.
        lag: how long orchd itself stood still.
        open_files: how many the private listeners may count on; None = any number.
    """

    env: Mapping[str, str]
    names: Names = field(default_factory=Names)
    lag: LoopLag = field(default_factory=LoopLag)
    open_files: int | None = None
