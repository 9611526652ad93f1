"""What is kept over a restart, and the Protocols of what keeps it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.model import Model


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A definition that an earlier run has kept.

    Attributes:
        current: the last good definition of its key; others are generations whose runners may still be there.
        generation: under which it was kept, and which its runners bear; empty = the model's own.
    """

    model: Model
    current: bool
    generation: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class StoredStream:
    """A stream that an earlier run has kept.

    Attributes:
        id: as the node or the gateway names it.
        origin: `domain.origins.Origin`.
        began_at: Unix time, seconds.
        account: who pays for it, as `hooks.account.Account.to_json` says it; None = nobody is charged.
        started: its container was asked to start it; else there is only the session.
    """

    id: str
    origin: str
    runner: RunnerId
    began_at: float
    account: str | None = None
    started: bool = True


class ModelStore(Protocol):
    """Definitions that must survive a kill -9. Each call is one transaction, on the disk when it returns.

    Every call of these stores raises StoreError where that can't be.
    """

    async def models(self) -> tuple[StoredModel, ...]:
        """Return every stored definition."""

    async def save_models(self, current: tuple[Model, ...]) -> None:
        """Make these the last good definitions; former ones stay as older generations until `forget_generations`."""

    async def forget_generations(self, keep: frozenset[tuple[ModelKey, str]]) -> None:
        """Drop definitions that are neither current nor in `keep` (key, generation)."""


class SecretStore(Protocol):
    """What orchd and the node must go on agreeing on, by name. As `ModelStore`."""

    async def secret(self, name: str) -> str | None:
        """Return what was kept under this name; None = nothing."""

    async def save_secret(self, name: str, value: str) -> None:
        """Keep it, in place of what was there."""

    async def forget_secret(self, name: str) -> None:
        """Drop it. What is not there is fine."""


class StreamStore(Protocol):
    """Realtime sessions that run. As `ModelStore`."""

    async def streams(self) -> tuple[StoredStream, ...]:
        """Return the realtime sessions that ran, oldest first."""

    async def save_stream(self, stream: StoredStream) -> None:
        """Keep it, in place of one of the same model and id."""

    async def forget_stream(self, key: ModelKey, id: str) -> None:
        """Drop it. What is not there is fine."""
