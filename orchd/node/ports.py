"""What the rest of orchd knows of the node: how it is asked, and what it answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

from orchd.domain.ids import ModelKey
from orchd.domain.model import Secret
from orchd.domain.offer import NodeProgram, NodeStatus
from orchd.domain.signal import Signal
from orchd.domain.stores import SecretStore
from orchd.node.answer import NodeAnswer as NodeAnswer
from orchd.node.answer import NodeError as NodeError
from orchd.node.route_secrets import RouteSecrets
from orchd.node.trials import Trials


@dataclass(frozen=True, slots=True)
class Probed:
    """What a node is, as it has shown itself.

    Attributes:
        live_runner: it has the registry of Live Runner.
    """

    program: NodeProgram
    live_runner: bool


@dataclass(frozen=True, slots=True)
class Discovered:
    """An answer of the node's `/discovery`, with status 200.

    Attributes:
        asked_at: loop clock; what was told to the node later may be missing in it.
    """

    asked_at: float
    answer: NodeAnswer


@dataclass(frozen=True, slots=True)
class StreamedAnswer:
    """An answer of the node whose body is still on its way.

    Attributes:
        headers: names in any case.
        pieces: the body as it comes. Raises NodeError if it breaks off.
    """

    status: int
    headers: Mapping[str, str]
    pieces: AsyncIterator[bytes]


class NodeCalls(Protocol):
    """How the node is asked.

    Attributes:
        secret: the node's `-orchSecret`; None = it has none.
    """

    secret: Secret | None

    async def service(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] = {},
        body: bytes | None = None,
        authorization: Secret | None = None,
    ) -> NodeAnswer:
        """Ask the service port; an answer with any status is returned.

        Args:
            path: sent as it is, with a query if any.

        Raises:
            NodeError: there was no answer, or its certificate is not the node's.
        """
        ...

    async def cli(
        self, method: str, path: str, *, form: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> NodeAnswer:
        """Ask the CLI port; an answer with any status is returned.

        Raises:
            NodeError: there was no answer; `NOT_SPOKEN` if the setting `cli_url` is empty.
        """
        ...

    def stream(self, url: Secret, *, headers: Mapping[str, str] = {}) -> AbstractAsyncContextManager[StreamedAnswer]:
        """GET a trickle URL that the node gave; its host is replaced by the service port's, where the channels are.

        Neither the answer nor its body is bounded in time: a channel answers when there is something.

        Raises:
            NodeError: it is not a trickle URL (`NODE_REFUSED`), there was no answer, or the body broke off.
        """
        ...

    async def fingerprint(self) -> str | None:
        """Return the SHA-256 of the node's certificate, as hex, after a handshake of its own; None for plain HTTP.

        Raises:
            NodeError: no handshake.
        """
        ...


class NodeConnection(NodeCalls, Protocol):
    """How the watch asks the node: it also finds out by which scheme.

    Attributes:
        base: URL of the service port, as it is asked now.
    """

    base: str

    def switch_scheme(self) -> bool:
        """Ask the service port by the other scheme from now on; return whether there is one to be tried."""
        ...


class RestartWatch(Protocol):
    """Watches whether the node is up, and for its restarts.

    Attributes:
        status: how the node was seen last.
        polled: emitted with the status after each poll, changed or not.
        discovered: emitted with what Live Runner lists, after each poll of a node that has it; before `polled`.
            Receivers may call `suspect`.
    """

    @property
    def status(self) -> NodeStatus: ...

    @property
    def polled(self) -> Signal[NodeStatus]: ...

    @property
    def discovered(self) -> Signal[Discovered]: ...

    def suspect(self, taken_at: float | None = None) -> None:
        """The node may be another process or program: ask it now which one it is.

        Args:
            taken_at: loop clock; the call of then was the last in which the node knew a runner of ours that it has
                forgotten now, which proves a restart. None = there is no proof.
        """

    def ask(self, registry: str, spoken: Callable[[Probed], Awaitable[bool]]) -> None:
        """Have the node asked, at each of its starts, whether it has this registry; not after `run` has begun.

        Args:
            spoken: is told what the node is. Raises NodeError if the node did not say; with the code `NOT_SPOKEN`, the
                registry is not used, and the message says why in the node's status.
        """

    async def run(self) -> None:
        """Poll until cancelled."""


async def _no_file() -> None:
    """There is no file to look at."""


@dataclass(slots=True)
class SecretFileSeen:
    """The file that `orchestrator.secret_file` names, as it was read last.

    Attributes:
        path: as the setting has it; empty = none.
        around: what stands around the secret, as `SecretText.around`; empty = nothing. It is not sent.
        look: reads the file again; if it holds another secret, that is `NodeCalls.secret` from then on.
        changed: emitted when another secret is used.
    """

    path: str = ""
    around: str = ""
    look: Callable[[], Awaitable[None]] = _no_file
    changed: Signal[()] = field(default_factory=Signal[()])


@dataclass(frozen=True, slots=True)
class NodeAccess:
    """What the node part gives to the parts above it.

    Attributes:
        calls: how the node is asked.
        tokens: what the node is given to prove itself to us.
        store: what orchd and the node must go on agreeing on.
        healthy: models that the node is to take for healthy when it asks us. A registry writes it, the job listener
            reads it.
        trials: the advertiser begins them, the job listener answers them.
        secret_file: where the secret of `calls` comes from.
        last_program: which program an earlier orchd saw last; None = not known.
    """

    calls: NodeCalls
    tokens: RouteSecrets
    store: SecretStore
    watch: RestartWatch
    healthy: set[ModelKey] = field(default_factory=set)
    trials: Trials = field(default_factory=Trials)
    secret_file: SecretFileSeen = field(default_factory=SecretFileSeen)
    last_program: NodeProgram | None = None
