"""Makes the hooks that come with orchd."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from orchd.hooks.hook import JobHook
from orchd.part import Context

if TYPE_CHECKING:
    from orchd.node.route_secrets import RouteSecrets


class HoldsTokens(Protocol):
    """The node part, as far as hooks use it.

    Attributes:
        tokens: with one of these a caller shows that the node has sent it.
    """

    @property
    def tokens(self) -> RouteSecrets: ...


class BuiltInHooks:
    """After `hooks.part.BuiltIn`.

    Args:
        node: None = orchd runs beside no node.
    """

    def __init__(self, context: Context, node: HoldsTokens | None) -> None:
        self._direct = context.settings.orchestrator.allow_direct
        self._node = node

    def hook(self, name: str) -> JobHook | None:
        """Return the hook of this name; None = it has nothing to do here."""
        if name != "node-token":
            raise ValueError(f"cannot make the hook {name!r}: it is not built in")
        if self._node is None:
            return None
        from orchd.tickets.node_token import NodeToken  # Costs nothing where there is no node.

        return NodeToken(self._node.tokens, direct=self._direct)
