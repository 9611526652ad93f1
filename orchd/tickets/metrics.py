"""What is paid with tickets, and why payments are refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from orchd.exposition import MetricsRegistry
from orchd.metric_lines import EmergingCounters, Family, Page
from orchd.tickets.validation.faults import Fault
from orchd.tickets.validation.schemes import BYOC, LIVE_RUNNER

TAKEN, REFUSED = "taken", "refused"

PAYMENTS = Family(
    "orchd_payments_total",
    "counter",
    "Payments by tickets, and requests for terms of payment that were refused.",
    ("scheme", "result"),
    unit="payments",
    good_for="do payers pay?",
)
REFUSALS = Family(
    "orchd_payments_refused_total",
    "counter",
    "Payments, and requests for terms, that were refused, by reason; docs/reference/payments.md lists the reasons.",
    ("reason",),
    unit="payments",
    good_for="is it a payer, the chain or orchd that keeps work from being paid?",
)
TICKETS = Family(
    "orchd_tickets_total",
    "counter",
    "Tickets that were taken.",
    ("scheme",),
    unit="tickets",
    good_for="how large are payments? One of some hundred tickets takes a core some ten milliseconds",
)


class PaymentCollector:
    """`exposition.Collector` of payments; also `payments.CountsPayments`."""

    families = (PAYMENTS, REFUSALS, TICKETS)

    def __init__(self, registry: MetricsRegistry) -> None:
        schemes = (BYOC.name, LIVE_RUNNER.name)
        self._payments = {scheme: {TAKEN: 0, REFUSED: 0} for scheme in schemes}
        self._tickets = dict.fromkeys(schemes, 0)
        self._refused: Counter[str] = Counter({fault.value: 0 for fault in Fault})
        self._payment_lines = {
            scheme: EmergingCounters(PAYMENTS.name, {"scheme": scheme}, "result", emerging=False) for scheme in schemes
        }
        self._ticket_lines = EmergingCounters(TICKETS.name, {}, "scheme", emerging=False)
        self._refusal_lines = EmergingCounters(REFUSALS.name, {}, "reason")
        registry.register(self)

    def taken(self, scheme: str, tickets: int) -> None:
        """See `payments.CountsPayments`."""
        self._payments[scheme][TAKEN] += 1
        self._tickets[scheme] += tickets

    def refused(self, scheme: str, fault: Fault) -> None:
        """See `payments.CountsPayments`."""
        self._payments[scheme][REFUSED] += 1
        self._refused[fault.value] += 1

    def pieces(self, page: Page) -> Iterator[Sequence[str]]:
        yield (
            "".join(lines.text(page, self._payments[scheme]) for scheme, lines in self._payment_lines.items()),
            self._refusal_lines.text(page, self._refused),
            self._ticket_lines.text(page, self._tickets),
        )
