"""What sold sessions need of the parts that carry them, as Protocols: streams and runners know nothing of them."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.model import Model
from orchd.domain.origins import Origin
from orchd.domain.outcomes import Outcome
from orchd.domain.ports import HostSeen
from orchd.domain.signal import Signal
from orchd.domain.snapshots import SnapshotSource
from orchd.hooks.account import Account
from orchd.sold.runner_side.runner_side import KeepsChannels


class Slot(Protocol):
    """A hold on a slot; see `sessions.session.Session`."""

    @property
    def runner(self) -> RunnerId: ...
    @property
    def progress_at(self) -> float: ...


class SoldStream(Protocol):
    """The stream that carries a session; see `realtime.stream.Stream`."""

    sign_at: float

    @property
    def id(self) -> str: ...
    @property
    def key(self) -> ModelKey: ...
    @property
    def origin(self) -> Origin: ...
    @property
    def session(self) -> Slot: ...
    @property
    def request_at(self) -> float: ...
    @property
    def riders(self) -> Collection[Any]: ...
    @property
    def forgetting(self) -> asyncio.Task[None] | None: ...


class SoldStreamLeft(Protocol):
    """One that an earlier orchd has left; see `realtime.expected.ExpectedStream`."""

    @property
    def runner(self) -> RunnerId: ...
    @property
    def name(self) -> str: ...
    @property
    def origin(self) -> Origin: ...
    @property
    def account(self) -> Account | None: ...


class StreamKeeper(Protocol):
    """See `realtime.keeper.Keeper`.

    Attributes:
        ending: emits a `SoldStream`, and why.
        ended: emits a `realtime.stream.StreamEnd`.
        found: emits a `SoldStream`.
        given_up: emits a `SoldStreamLeft`.
    """

    @property
    def ending(self) -> Signal[Any, str]: ...
    @property
    def ended(self) -> Signal[Any]: ...
    @property
    def found(self) -> Signal[Any]: ...
    @property
    def given_up(self) -> Signal[Any]: ...
    def expected(self, origin: Origin) -> Sequence[SoldStreamLeft]: ...
    def end_soon(self, stream: Any, outcome: Outcome, why: str, word: str = "") -> None: ...
    def forget_left(self, key: ModelKey, name: str) -> asyncio.Task[None]: ...


class HasStreams(Protocol):
    """See `realtime.ports.RealtimeStreams`."""

    @property
    def keeper(self) -> StreamKeeper: ...


class Runners(Protocol):
    """See `reconcile.ports.ServedModels`."""

    def models(self) -> Mapping[ModelKey, Model]: ...
    def serves(self, runner: RunnerId) -> bool: ...


class HasRunners(Protocol):
    """See `reconcile.ports.Reconciler`."""

    @property
    def loop(self) -> Runners: ...
    @property
    def snapshots(self) -> SnapshotSource: ...


class SeesHost(Protocol):
    """See `runtime.ports.Runtimes`."""

    @property
    def host_seen(self) -> HostSeen: ...


class SessionChannelKeeper(KeepsChannels, Protocol):
    """See `channels.ports.ChannelKeeper`."""

    def moved_at(self, session: str) -> float | None: ...


class HasChannels(Protocol):
    """See `channels.part.ChannelsPart`."""

    @property
    def keeper(self) -> SessionChannelKeeper: ...
