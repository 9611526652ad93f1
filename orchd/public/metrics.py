"""What the listener for payers answers itself, what it refuses, and how long its certificate is good for."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

from orchd.domain.state import ClientsStatus
from orchd.exposition import MetricsRegistry
from orchd.metric_lines import EmergingCounters, Family, Page, sample
from orchd.relay.listener import HandshakeFault

ANSWERS = Family(
    "orchd_public_answers_total",
    "counter",
    "Requests that a door of `public.listen` answered itself, by door, route and the class of the answer's status.",
    labels=("door", "route", "class"),
    unit="requests",
    good_for="do payers get their tokens? Jobs are in orchd_jobs_total",
)
LIMITED = Family(
    "orchd_public_rate_limited_total",
    "counter",
    "Requests that were refused since their address or payer asks too often.",
    labels=("by",),
    unit="requests",
    good_for="is somebody hammering orchd, or is `public.address_rate` too low?",
)
NOT_FOUND = Family(
    "orchd_public_not_found_total",
    "counter",
    "Requests to `public.listen` whose path no door takes.",
    unit="requests",
    good_for="how much of the traffic is scanners",
)
HANDSHAKES = Family(
    "orchd_public_handshakes_failed_total",
    "counter",
    "Connections to `public.listen` that never became one of TLS, by reason.",
    labels=("reason",),
    unit="connections",
    good_for="can payers connect?",
)
CONNECTIONS = Family(
    "orchd_public_connections_refused_total",
    "counter",
    "Connections to `public.listen` that were closed at once, since their address had too many.",
    unit="connections",
    good_for="is somebody taking all connections, or is `public.max_connections_per_address` too low?",
)
CERTIFICATE = Family(
    "orchd_public_certificate_left_seconds",
    "gauge",
    "Seconds for which the certificate of `public.listen` is still good; below 0 = it has expired.",
    unit="seconds",
    good_for="renew it in time",
)
CLIENTS = Family(
    "orchd_public_last_client_timestamp_seconds",
    "gauge",
    "Unix time at which a client of Live Runner's came last, by what for; what has not happened is not there.",
    labels=("to",),
    unit="seconds",
    good_for="does anybody find orchd?",
)
PAYERS = Family(
    "orchd_public_payers",
    "gauge",
    "Payers of Live Runner's whose sessions or jobs began since orchd started.",
    unit="payers",
    good_for="does anybody pay?",
)
LIMITS = ("address", "payer")
CLASSES = ("2xx", "3xx", "4xx", "5xx", "none")
"""`none`: the caller has left before it was answered."""


class PublicCollector:
    """`exposition.Collector` of the listener for payers.

    Args:
        expires_at: returns when the certificate expires, Unix time; None = there is none.
        clients: returns whether clients of Live Runner's come; None = there is no door for them.
    """

    families = (ANSWERS, LIMITED, NOT_FOUND, HANDSHAKES, CONNECTIONS, CERTIFICATE, CLIENTS, PAYERS)

    def __init__(
        self,
        registry: MetricsRegistry,
        expires_at: Callable[[], float | None],
        clients: Callable[[], ClientsStatus | None],
    ) -> None:
        self._expires_at = expires_at
        self._clients = clients
        self._answers: dict[tuple[str, str], dict[str, int]] = {}
        self._lines: dict[tuple[str, str], EmergingCounters] = {}
        self._limited = dict.fromkeys(LIMITS, 0)
        self._handshakes = dict.fromkeys(HandshakeFault, 0)
        self._not_found = 0
        self._connections_refused = 0
        registry.register(self)

    def answered(self, door: str, route: str, status: int) -> None:
        """Count an answer; status 0 = its caller has left before."""
        counts = self._answers.get((door, route))
        if counts is None:
            counts = self._answers[door, route] = dict.fromkeys(CLASSES, 0)
            self._lines[door, route] = EmergingCounters(ANSWERS.name, {"door": door, "route": route}, "class")
        counts[f"{status // 100}xx" if status else "none"] += 1

    def limited(self, by: str) -> None:
        """Count a request that was refused since its `LIMITS` member was exceeded."""
        self._limited[by] += 1

    def not_found(self) -> None:
        """Count a request that no door takes."""
        self._not_found += 1

    def handshake_failed(self, why: HandshakeFault) -> None:
        """Count a connection that never became one of TLS."""
        self._handshakes[why] += 1

    def connection_refused(self) -> None:
        """Count a connection whose address had too many."""
        self._connections_refused += 1

    def pieces(self, page: Page) -> Iterator[Sequence[str]]:
        expires_at, seen = self._expires_at(), self._clients()
        yield (
            "".join(self._lines[of].text(page, counts) for of, counts in self._answers.items()),
            "".join(sample(LIMITED.name, count, by=by) for by, count in self._limited.items()),
            sample(NOT_FOUND.name, self._not_found),
            "".join(sample(HANDSHAKES.name, count, reason=why) for why, count in self._handshakes.items()),
            sample(CONNECTIONS.name, self._connections_refused),
            "" if expires_at is None else sample(CERTIFICATE.name, round(expires_at - time.time())),
            "".join(sample(CLIENTS.name, round(at), to=to) for to, at in _times(seen)),
            "" if seen is None else sample(PAYERS.name, seen.payers),
        )


def _times(seen: ClientsStatus | None) -> Iterator[tuple[str, float]]:
    if seen is not None:
        times = {"discovery": seen.discovery_at, "terms": seen.challenge_at, "payment": seen.paid_at}
        yield from ((to, at) for to, at in times.items() if at)
