"""What hooks are counted in: refusals and failures."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from orchd.exposition import MetricsRegistry
from orchd.metric_lines import EmergingCounters, Family, Page, sample

REFUSALS = Family(
    "orchd_hook_refusals_total",
    "counter",
    "Requests that a hook refused, by its reason; those beyond the first 128 reasons of a hook are counted as other.",
    labels=("hook", "reason"),
    unit="requests",
    good_for="why callers are refused; each answer says the same in `Livepeer-Error`",
)
FAILURES = Family(
    "orchd_hook_failures_total",
    "counter",
    "Calls of a hook that raised, took too long or could not reach what they need.",
    labels=("hook", "call"),
    unit="calls",
    good_for="is a hook broken? Jobs are refused with 503 meanwhile",
)
MAX_REASONS = 128
"""Reasons are the hooks' own words: they may not make series without end."""
OTHER = "other"


class HookCounts:
    """How often hooks have refused and failed, by the names that the settings give them."""

    def __init__(self) -> None:
        self.refusals: dict[str, Counter[str]] = {}
        self.failures: Counter[tuple[str, str]] = Counter()

    def refused(self, hook: str, reason: str) -> None:
        """Count a refusal."""
        reasons = self.refusals.setdefault(hook, Counter())
        reasons[reason if reason in reasons or len(reasons) < MAX_REASONS else OTHER] += 1

    def failed(self, hook: str, call: str) -> None:
        """Count a failure."""
        self.failures[hook, call] += 1


class HookCollector:
    """`exposition.Collector` of the hooks."""

    families = (REFUSALS, FAILURES)

    def __init__(self, registry: MetricsRegistry, counts: HookCounts) -> None:
        self._counts = counts
        self._refusals: dict[str, EmergingCounters] = {}
        registry.register(self)

    def pieces(self, page: Page) -> Iterator[Sequence[str]]:
        for hook in self._counts.refusals:
            if hook not in self._refusals:
                self._refusals[hook] = EmergingCounters(REFUSALS.name, {"hook": hook}, "reason")
        refusals = (lines.text(page, self._counts.refusals[hook]) for hook, lines in self._refusals.items())
        failures = (
            sample(FAILURES.name, count, hook=hook, call=call) for (hook, call), count in self._counts.failures.items()
        )
        yield "".join(refusals), "".join(failures)
