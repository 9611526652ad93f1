"""What tickets came to, by model, and whether the ledger can be written. Amounts are in ETH: `orchd tickets` has them
to the wei."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from orchd.domain.ids import ModelKey
from orchd.domain.money import WEI_PER_ETH
from orchd.exposition import MetricsRegistry
from orchd.metric_lines import MODEL_LABELS, Family, Lines, Page, model_labels, sample
from orchd.tickets.ledger.values import NO_SUMS, TicketSums
from orchd.tickets.ledger.view import LedgerView
from orchd.tickets.validation.signatures import MAX_U256

SESSIONS = Family(
    "orchd_paid_sessions",
    "gauge",
    "Sessions that are charged to a payer's tickets now.",
    labels=MODEL_LABELS,
    unit="sessions",
    good_for="how much of the work is paid by tickets",
)
EXPECTED = Family(
    "orchd_tickets_expected_eth_total",
    "counter",
    "What the tickets that were taken are worth on average, which is what was earned; over all lives of orchd.",
    labels=MODEL_LABELS,
    unit="ETH",
    good_for="what does a model earn?",
)
WON = Family(
    "orchd_tickets_won_eth_total",
    "counter",
    "Face values of the tickets that have won, over all lives of orchd.",
    labels=MODEL_LABELS,
    unit="ETH",
    good_for="what comes of it? In the long run as much as was expected",
)
OWED = Family(
    "orchd_tickets_owed_eth",
    "gauge",
    "Face values of the tickets that have won and may still be redeemed.",
    labels=MODEL_LABELS,
    unit="ETH",
    good_for="what is to be redeemed; it is lost about two rounds after it was won",
)
EXPIRED = Family(
    "orchd_tickets_expired_eth_total",
    "counter",
    "Face values of the tickets that have won and were not redeemed in time, over all lives of orchd.",
    labels=MODEL_LABELS,
    unit="ETH",
    good_for="what was lost",
)
WINNERS_EXPECTED = Family(
    "orchd_ticket_winners_expected_total",
    "counter",
    "How many tickets should have won, by their probabilities; over all lives of orchd.",
    labels=MODEL_LABELS,
    unit="tickets",
    good_for="with the next one: do tickets win as often as they should?",
)
WINNERS = Family(
    "orchd_ticket_winners_total",
    "counter",
    "How many tickets have won, over all lives of orchd.",
    labels=MODEL_LABELS,
    unit="tickets",
    good_for="with the one before; `orchd tickets` says how likely a difference is",
)
LEFT = Family(
    "orchd_tickets_rounds_left",
    "gauge",
    "Rounds until the first of the winners that nobody has exported is lost: 2 = not in this round, 1 = with the next "
    "one. There is no sample while there are none, or while the chain is not known.",
    unit="rounds",
    good_for="redeem in time: a round takes most of a day",
)
FAILURES = Family(
    "orchd_ledger_failures_total",
    "counter",
    "Payments, charges and other changes of the ledger that could not be kept.",
    unit="changes",
    good_for="is paid work refused because of the disk?",
)
FORFEITED = Family(
    "orchd_tickets_forfeited_eth_total",
    "counter",
    "Credit of payers that was taken since orchd has started, as nobody had used it: for `ledger.keep_credit_days`, or "
    "when there were too many sessions to keep what is left on each.",
    unit="ETH",
    good_for="how much was paid for nothing? A payer's part is in `orchd tickets show`",
)


OF_MODELS = (SESSIONS, EXPECTED, WON, OWED, EXPIRED, WINNERS_EXPECTED, WINNERS)


class ShowsBooks(Protocol):
    """The open ledger, as `books.Books`."""

    view: LedgerView

    @property
    def failures(self) -> int: ...

    def paid_sessions(self) -> Mapping[ModelKey, int]: ...
    def rounds_left(self) -> int | None: ...


class LedgerCollector:
    """`exposition.Collector` of the ledger."""

    families = (*OF_MODELS, LEFT, FAILURES, FORFEITED)

    def __init__(self, registry: MetricsRegistry, books: ShowsBooks) -> None:
        self._books = books
        self._models = registry.per_model(_lines)
        registry.register(self)

    def pieces(self, page: Page) -> Iterator[Sequence[str]]:
        view = self._books.view
        left = self._books.rounds_left()
        yield (
            *("" for _ in OF_MODELS),
            "" if left is None else sample(LEFT.name, left),
            sample(FAILURES.name, self._books.failures),
            sample(FORFEITED.name, float(view.forfeited / WEI_PER_ETH)),
        )
        running = self._books.paid_sessions()
        for key, lines in self._models.now():
            values = (running.get(key, 0), *_amounts(view.model_sums.get(key, NO_SUMS), view.owed_wei.get(key, 0)))
            yield *(line.text(value) for line, value in zip(lines, values, strict=True)), "", "", ""


def _amounts(sums: TicketSums, owed_wei: int) -> tuple[float, ...]:
    return (
        sums.expected / MAX_U256 / WEI_PER_ETH,
        sums.won_wei / WEI_PER_ETH,
        owed_wei / WEI_PER_ETH,
        sums.expired_wei / WEI_PER_ETH,
        sums.win_probs / MAX_U256,
        sums.won,
    )


def _lines(key: ModelKey) -> tuple[Lines, ...]:
    """Return those of each family that has models."""
    return tuple(Lines.of(family.name, model_labels(key)) for family in OF_MODELS)
