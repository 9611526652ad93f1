"""Whether the models file applies, and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from orchd.domain.ids import ModelKey
from orchd.domain.state import Problem, Severity
from orchd.exposition import MetricsRegistry
from orchd.metric_lines import MODEL_LABELS, Family, Page, model_labels, sample

SUCCESS = Family(
    "orchd_reload_success",
    "gauge",
    "1 = the newest reading of the models file applied.",
    unit="0 or 1",
    good_for="was the last edit of the file refused as a whole?",
)
TIMESTAMP = Family(
    "orchd_reload_timestamp_seconds",
    "gauge",
    "Unix time of the last reading that applied.",
    unit="seconds since 1970",
    good_for="when an edit applied last",
)
HASH = Family(
    "orchd_reload_hash",
    "gauge",
    "First 48 bits of the SHA-256 of the file that applied last.",
    unit="a number made of it",
    good_for="do all hosts that share a file go by the same one?",
)
PROBLEMS = Family(
    "orchd_file_problems",
    "gauge",
    "Problems of the models file.",
    labels=("severity",),
    unit="problems",
    good_for="is the file as clean as `orchd check` wants it?",
)
ENTRY_ERRORS = Family(
    "orchd_entry_errors",
    "gauge",
    "Errors of a model's entry; under empty labels, of entries that do not say which model they are; absent = none.",
    labels=MODEL_LABELS,
    unit="errors",
    good_for="which entry to mend, and whether its model is served at all",
)


class CatalogCollector:
    """`exposition.Collector` of the models file."""

    families = (SUCCESS, TIMESTAMP, HASH, PROBLEMS, ENTRY_ERRORS)

    def __init__(self, registry: MetricsRegistry) -> None:
        self._ok = False
        self._at = 0.0
        self._hash = 0
        self._problems = dict.fromkeys(Severity, 0)
        self._entries: Counter[ModelKey | None] = Counter()
        registry.register(self)

    def reloaded(self, ok: bool, at: float, file_hash: str, problems: Sequence[Problem] = ()) -> None:
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
        self._problems = {each: sum(p.severity is each for p in problems) for each in Severity}
        self._entries = Counter(p.key for p in problems if p.severity is Severity.ERROR and p.entry is not None)

    def pieces(self, page: Page) -> Iterator[Sequence[str]]:
        yield (
            sample(SUCCESS.name, int(self._ok)),
            sample(TIMESTAMP.name, self._at),
            sample(HASH.name, self._hash),
            "".join(sample(PROBLEMS.name, count, severity=severity) for severity, count in self._problems.items()),
            "",
        )
        for key, count in tuple(self._entries.items()):
            yield "", "", "", "", sample(ENTRY_ERRORS.name, count, **model_labels(key))
