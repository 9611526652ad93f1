"""Makes the hooks that come with orchd. Of those that nobody names, nothing is imported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from orchd.hooks.hook import JobHook
from orchd.hooks.loader import options_of
from orchd.part import Context
from orchd.settings.secrets import read_secret
from orchd.settings.section import FreeTable

if TYPE_CHECKING:
    from orchd.node.route_secrets import RouteSecrets
    from orchd.tickets.paid_sessions import PaidSessions
    from orchd.tickets.payments import Payments


class HoldsTokens(Protocol):
    """The node part, as far as hooks use it.

    Attributes:
        tokens: with one of these a caller shows that the node has sent it.
    """

    @property
    def tokens(self) -> RouteSecrets: ...


class TakesPayments(Protocol):
    """See `tickets.part.TicketsPart`."""

    @property
    def payments(self) -> Payments: ...
    @property
    def sessions(self) -> PaidSessions: ...
    @property
    def live_runner(self) -> JobHook | None: ...


class BuiltInHooks:
    """After `hooks.part.BuiltIn`.

    Args:
        node: None = orchd runs beside no node.
        tickets: None = `hooks.order` does not name the hook `tickets`.
    """

    def __init__(self, context: Context, node: HoldsTokens | None, tickets: TakesPayments | None = None) -> None:
        self._context = context
        self._node = node
        self._tickets = tickets

    def hook(self, name: str, table: FreeTable | None = None) -> JobHook | None:
        """Return the hook of this name; None = it has nothing to do here.

        Args:
            table: its options.

        Raises:
            HookError: the options can't be used.
            SettingsError: a file that they name can't be read.
        """
        match name:
            case "node-token":
                return self._node_token()
            case "tickets" if self._tickets is not None:
                return self._takes_payment(self._tickets)
            case "signed-job" | "limits":
                made = type_of(name)
                return made(options_of(made.Options, table, name))
            case "webhook":
                from orchd.tickets.webhook import WebhookHook, WebhookOptions

                options = options_of(WebhookOptions, table, name)
                secret = read_secret("hooks.webhook.secret_file", options.secret_file, self._context.env)
                return WebhookHook(options, secret, self._context.names)
        raise ValueError(f"cannot make the hook {name!r}: it is not built in")

    def _takes_payment(self, tickets: TakesPayments) -> JobHook:
        from orchd.tickets.byoc_tickets import Tickets

        trusting = self._context.settings.tickets.off_chain == "trust"
        byoc = Tickets(tickets.payments, tickets.sessions, trusting=trusting)
        if tickets.live_runner is None:
            return byoc
        from orchd.tickets.hook import BYOC_DOOR, LIVE_RUNNER_DOOR, TicketsByDoor

        return TicketsByDoor({BYOC_DOOR: byoc, LIVE_RUNNER_DOOR: tickets.live_runner})

    def _node_token(self) -> JobHook | None:
        if self._node is None:
            return None
        from orchd.tickets.node_token import NodeToken

        return NodeToken(self._node.tokens, direct=self._context.settings.orchestrator.allow_direct)


def type_of(name: str) -> type[JobHook]:
    """Return the class of a hook that has options, one of `settings.WITH_OPTIONS`."""
    match name:
        case "signed-job":
            from orchd.tickets.signed_job import SignedJob

            return SignedJob
        case "limits":
            from orchd.tickets.limits import LimitsHook

            return LimitsHook
        case "webhook":
            from orchd.tickets.webhook import WebhookHook

            return WebhookHook
    raise ValueError(f"cannot make the hook {name!r}: it has no options")
