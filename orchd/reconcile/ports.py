"""What the part `reconcile` offers the parts above it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from orchd.domain.details import HostGpu
from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.model import Model
from orchd.domain.ports import ProbeWord
from orchd.domain.progress import Follow, Progress
from orchd.domain.signal import Signal
from orchd.domain.snapshots import SnapshotSource
from orchd.domain.state import Stopped
from orchd.reconcile.standing import Standing


class ServedModels(Protocol):
    """After `loop.Loop`: what is served and runs now."""

    def models(self) -> Mapping[ModelKey, Model]:
        """Return what is served now; the same mapping as long as nothing changes."""
        ...

    def standing(self, key: ModelKey) -> Standing:
        """Return how a model of `models()` stands.

        Raises:
            KeyError: it is not one of them.
        """
        ...

    def knows(self, runner: RunnerId) -> bool:
        """Return whether there is such a runner, or it can't be known yet."""
        ...

    def serves(self, runner: RunnerId) -> bool:
        """Return whether a runner answers the sessions that it has: it is ready, or drains."""
        ...

    def given_up(self, runner: RunnerId) -> str:
        """Return why nothing can be expected of a runner any more that is not replaced; empty = it serves."""
        ...

    def model_of(self, runner: RunnerId) -> Model | None:
        """Return the definition that a runner serves; None = there is no such runner."""
        ...

    async def changed(self) -> None:
        """Return after the loop's next turn."""
        ...


@dataclass(frozen=True, slots=True)
class Orders:
    """What came of an order about some models.

    Attributes:
        follow: for each model, says how far it is.
        not_kept: why the order holds only until orchd is restarted; empty = it holds beyond that.
    """

    follow: Mapping[ModelKey, Follow]
    not_kept: str = ""


class ModelOrders(Protocol):
    """After `orders.OrderBook`: takes an operator's orders about models. Each is carried out whole."""

    @property
    def stopped(self) -> Mapping[ModelKey, Stopped]:
        """The models that an operator has stopped; the models file may name them or not."""
        ...

    def in_file(self, key: ModelKey) -> bool:
        """Return whether the models file asks for it, stopped or not."""
        ...

    def now(self, key: ModelKey) -> Progress:
        """Return how far a model is from running as the models file asks for."""
        ...

    async def stop(self, keys: Collection[ModelKey], by: str) -> Orders:
        """Drain and stop these models, and keep them so until `start`. Of one that is stopped already nothing changes.

        Args:
            by: who asks, in words.
        """
        ...

    async def start(self, keys: Collection[ModelKey], by: str) -> Orders:
        """Let these models run again, as the models file asks for. One that is not stopped is fine."""
        ...

    async def restart(self, keys: Collection[ModelKey], by: str) -> Orders:
        """Drain the models' runners and start them again. One that is stopped stays so."""
        ...


class Reconciler(Protocol):
    """The loop and what it passes on.

    Attributes:
        probed: a runner, its model, what a probe of it said, and when that probe began (loop clock).
        snapshots: from `open` on. What all parts know of the models.
        orders: from `open` on.
    """

    @property
    def loop(self) -> ServedModels: ...

    @property
    def probed(self) -> Signal[RunnerId, Model, ProbeWord, float]: ...

    @property
    def snapshots(self) -> SnapshotSource: ...

    @property
    def orders(self) -> ModelOrders: ...

    async def turned(self) -> None:
        """Return when the loop has turned for the first time: then it is known what is served."""
        ...

    def readiness(self, key: ModelKey) -> tuple[bool, str]:
        """Return whether a session of this model could begin now, and if not, why.

        Raises:
            KeyError: no such model is served.
        """
        ...

    def hurry(self, runner: RunnerId) -> None:
        """Have this runner probed soon: a job failed on it."""
        ...

    async def gpus(self) -> Sequence[HostGpu]:
        """Return the GPUs that containers can have on this machine.

        Raises:
            LaunchError: the driver can't tell.
        """
        ...

    async def end_all(self, tell: Callable[[str], None]) -> tuple[str, ...]:
        """Stop and remove every runner of this instance.

        Args:
            tell: is given a line whenever there is news.

        Returns:
            What may still run, each in words.
        """
        ...
