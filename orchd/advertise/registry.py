"""What a registry is to the rest of orchd, and what it works with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import NamedTuple, Protocol, runtime_checkable

from orchd.advertise.listings import Listings
from orchd.advertise.settings import OrchestratorSettings
from orchd.domain.ids import ModelKey
from orchd.domain.ports import NodeSessions
from orchd.node.ports import NodeAccess


class Registry(Protocol):
    """Keeps one registry of the node the same as what is offered."""

    async def run(self) -> None:
        """Work until cancelled."""

    async def withdraw_all(self) -> None:
        """Take back everything that is offered there, after `run` has ended. What the node refuses stays."""


class TrialResult(StrEnum):
    """What came of a job that orchd sent to itself through the node."""

    ARRIVED = "arrived"
    REFUSED = "refused"
    """The node answered that it can't pass the job on."""
    ELSEWHERE = "elsewhere"
    """Another server got it."""
    SILENCE = "silence"
    """The node took the runner, and has not answered the job in time."""
    UNTESTABLE = "untestable"
    """It would have to be paid for, or the registry is not used so that it can be tried."""
    AGAIN = "again"
    """Something else went wrong."""


class NodeTrial(NamedTuple):
    """What came of a trial through the node.

    Attributes:
        said: by the node, in one line, or why it can't be tried; empty = nothing that helps.
    """

    result: TrialResult
    said: str = ""


@runtime_checkable
class TriedRegistry(Registry, Protocol):
    """A registry through which orchd can send a job to itself."""

    async def try_way(self) -> NodeTrial:
        """Send one by a runner made for it, which takes no slot of a model and is unregistered at once.

        Never raises.
        """
        ...


@runtime_checkable
class StreamRegistry(Registry, Protocol):
    """A registry by which the node begins streams, and does not tell us of every end. They have its name as origin."""

    async def lives(self, stream: str) -> bool:
        """Return whether the node still carries a stream; True if it can't be asked about one of this name.

        Raises:
            NodeError: it did not say.
        """
        ...


@runtime_checkable
class SessionRegistry(Registry, Protocol):
    """A registry in which gateways reserve sessions at the node."""

    async def stop_session(self, key: ModelKey, session: str) -> None:
        """End a session at the node. A session that the node does not know is fine. Never raises."""


@dataclass(frozen=True, slots=True)
class RegistryContext:
    """What a registry works with.

    Attributes:
        node: what the node part gives.
        listings: what is to be offered; the registry reports there how it stands.
        eth_usd: USD per ETH; None = not known. When it changes, `listings.wake()` is called.
        sessions: is told of the sessions that gateways reserve at the node.
        instance: as in the settings; keeps the names of two orchd at one node apart.
    """

    node: NodeAccess
    listings: Listings
    settings: OrchestratorSettings
    eth_usd: Callable[[], Fraction | None]
    sessions: NodeSessions
    instance: str

    def runner_id(self, key: ModelKey) -> str:
        """Return under which name the node has a model; no other orchd's is so."""
        return runner_id(self.instance, key)


def runner_id(instance: str, key: ModelKey) -> str:
    """Return under which name a node has a model of an instance; no slug begins like this."""
    return f"orchd-{instance}-{key.slug}"
