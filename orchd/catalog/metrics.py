"""Whether the models file applies, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchd.domain.state import Severity
from orchd.exposition import MetricsRegistry
from orchd.metric_lines import Family, Page, sample

SUCCESS = Family("orchd_reload_success", "gauge", "1 = the newest reading of the models file applied.")
TIMESTAMP = Family("orchd_reload_timestamp_seconds", "gauge", "Unix time of the last reading that applied.")
HASH = Family("orchd_reload_hash", "gauge", "First 48 bits of the SHA-256 of the file that applied last.")
PROBLEMS = Family("orchd_file_problems", "gauge", "Problems of the models file.")


class CatalogCollector:
    """`exposition.Collector` of the models file."""

    families = (SUCCESS, TIMESTAMP, HASH, PROBLEMS)

    def __init__(self, registry: MetricsRegistry) -> None:
        self._ok = False
        self._at = 0.0
        self._hash = 0
        self._problems = dict.fromkeys(Severity, 0)
        registry.register(self)

    def reloaded(self, ok: bool, at: float, file_hash: str, errors: int, warnings: int) -> None:
        """Tell of one reading of the models file.

        Args:
            ok: it applied (bad entries left aside).
            at: Unix time, seconds.
            file_hash: 12 hex digits of the last file that applied; empty = none yet.
        """
        self._ok = ok
        if ok:
            self._at = at
        self._hash = int(file_hash or "0", 16)
        self._problems = {Severity.ERROR: errors, Severity.WARNING: warnings}

    def pieces(self, page: Page) -> Iterator[Sequence[str]]:
        yield (
            sample(SUCCESS.name, int(self._ok)),
            sample(TIMESTAMP.name, self._at),
            sample(HASH.name, self._hash),
            "".join(sample(PROBLEMS.name, count, severity=severity) for severity, count in self._problems.items()),
        )
