"""What collectors write the lines of their metrics with: families, samples, counters and histograms. Pure.

**Zero before the first increment.** A series that most models never need (a histogram, a counter by error code) is left
out until something happens. Were it then shown at 1, Prometheus' `increase()` would miss that first event, since it
compares with the sample before. So such a series (`EmergingCounters`, `HistogramLines`) is first shown at zero, and
with its values from the next page on. With several scrapers, the zero is repeated until one of them asks that has had
it: scrapers with the same interval all get a zero first, and a person who reads the page takes it away from nobody. A
scraper is known by its address and `User-Agent`. One that scrapes less often than another may miss the first events of
a series; nothing else.

The format's rules (escaping, how numbers are written) are prometheus-client's.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from typing import Literal

from prometheus_client.utils import floatToGoString

from orchd.domain.ids import ModelKey

MODEL_LABELS = ("pipeline", "model_id")
"""Both are empty where no model is concerned."""


@dataclass(frozen=True, slots=True)
class Family:
    """One metric.

    Attributes:
        name: as its `# TYPE` line has it (counters with `_total`).
        help: what it says, for its `# HELP` line.
        labels: their names, but for a histogram's `le`.
        unit: of its values, for the reference page, as is `good_for`: the question that it answers.
    """

    name: str
    type: Literal["counter", "gauge", "histogram"]
    help: str
    labels: tuple[str, ...] = ()
    unit: str = ""
    good_for: str = ""

    def head(self) -> str:
        """Return the two lines that stand above its samples; empty for `WHOLE`."""
        if not self.name:
            return ""
        told = self.help.replace("\\", r"\\").replace("\n", r"\n")
        return f"# HELP {self.name} {told}\n# TYPE {self.name} {self.type}\n"


WHOLE = Family("", "gauge", "")
"""Text that holds whole families, their heads too: what prometheus-client has rendered."""


@dataclass(frozen=True, slots=True)
class Page:
    """Which page is rendered.

    Attributes:
        number: counts pages from 1.
        mature: a series that was shown first, at zero, on the page of this number or before has its values by now.
    """

    number: int
    mature: int


def labels(pairs: Mapping[str, str]) -> str:
    """Return `name="value",...`, escaped, in the order of the names, as prometheus-client has it."""
    return ",".join(f'{name}="{escape(pairs[name])}"' for name in sorted(pairs))


def heads(name: str, pairs: Mapping[str, str], label: str, words: Iterable[str]) -> Iterator[str]:
    """Yield what stands before each value: the name, `pairs`, and each of the words as `label`; without one, a line.

    A model has some dozens of them, so what they have in common is written once.
    """
    if not label:
        yield f"{name}{{{labels(pairs)}}} "
        return
    first = "".join(f'{each}="{escape(pairs[each])}",' for each in sorted(pairs) if each < label)
    last = "".join(f',{each}="{escape(pairs[each])}"' for each in sorted(pairs) if each > label)
    for word in words:
        yield f'{name}{{{first}{label}="{escape(word)}"{last}}} '


def escape(value: str) -> str:
    """Return the value of a label as it is to stand between quotes."""
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def number(value: float) -> str:
    """Return a value as Prometheus' Go programs write it."""
    if type(value) is int and 0 <= value < 1_000_000:
        return f"{value}.0"
    return floatToGoString(value)  # type: ignore[no-untyped-call, no-any-return]


def sample(name: str, value: float, **pairs: str) -> str:
    """Return one line."""
    return f"{name}{{{labels(pairs)}}} {number(value)}\n" if pairs else f"{name} {number(value)}\n"


class Lines:
    """Some lines of one family, whose text is made again only when a value has changed.

    Args:
        heads: returns what stands before each value: name, labels and a space. Called for the first page: a file of a
            thousand models makes ten thousand of these at once.
    """

    __slots__ = ("_heads", "_make_heads", "_text", "_values")

    def __init__(self, heads: Callable[[], Iterable[str]]) -> None:
        self._make_heads = heads
        self._heads: tuple[str, ...] | None = None
        self._values: tuple[float, ...] = ()
        self._text = ""

    @classmethod
    def of(cls, name: str, pairs: Mapping[str, str], label: str = "", words: Iterable[str] = ()) -> Lines:
        """Return those with the labels `pairs`, and with each of the words as `label`; without `label`, one line."""
        return cls(partial(heads, name, pairs, label, words))

    @property
    def shown(self) -> bool:
        """They have been on a page."""
        return bool(self._text)

    def text(self, *values: float) -> str:
        """Return the lines with these values, one for each."""
        if values != self._values or not self._text:
            self._values = values
            if self._heads is None:
                self._heads = tuple(self._make_heads())
            self._text = "".join(
                f"{head}{number(value) if value else 0}\n" for head, value in zip(self._heads, values, strict=True)
            )
        return self._text


class EmergingCounters:
    """Counters of one family that differ in one label; each appears with its first event, at zero at first.

    Args:
        pairs: the other labels.
        label: the name of that label.
        emerging: False = all of them are there from the start.
    """

    __slots__ = ("_emerging", "_heads", "_label", "_name", "_pairs", "_real", "_since", "_text", "_values")

    def __init__(self, name: str, pairs: Mapping[str, str], label: str, *, emerging: bool = True) -> None:
        self._emerging = emerging
        self._name = name
        self._pairs = pairs
        self._label = label
        self._heads: dict[str, str] = {}
        self._since: dict[str, int] = {}
        self._values: tuple[int, ...] = ()
        self._real = False
        self._text = ""

    def text(self, page: Page, counts: Mapping[str, int]) -> str:
        """Return the lines of those of `counts` (by the label's value) that have appeared. Ask once per page."""
        if self._emerging and not self._since and not any(counts.values()):
            return ""
        values = tuple(counts.values())
        if self._text and self._real and values == self._values:
            return self._text
        lines: list[str] = []
        self._values, self._real = values, True
        for word, count in counts.items():
            if word not in self._since:
                if self._emerging and not count:
                    continue
                self._since[word] = page.number if self._emerging else 0
                self._heads[word] = f"{self._name}{{{labels({**self._pairs, self._label: word})}}} "
            real = self._since[word] <= page.mature
            self._real = self._real and real
            lines.append(f"{self._heads[word]}{number(count if real else 0)}\n")
        self._text = "".join(lines)
        return self._text


class Histogram:
    """Observations by bucket. Plain numbers: prometheus-client's locks cost more than the rest of a job's counting.

    Args:
        bounds: of the buckets, upwards, without infinity.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


class HistogramLines:
    """The lines of a histogram.

    Args:
        scale: of the family's unit, in the histogram's.
        emerging: it appears with its first event, at zero at first; else it is there from the start.
    """

    __slots__ = ("_emerging", "_lines", "_name", "_of", "_pairs", "_scale", "_since")

    def __init__(
        self, name: str, pairs: Mapping[str, str], of: Histogram, *, scale: float = 1, emerging: bool = True
    ) -> None:
        self._name = name
        self._pairs = pairs
        self._of = of
        self._scale = scale
        self._emerging = emerging
        self._since = 0
        self._lines: Lines | None = None

    def text(self, page: Page) -> str:
        """Return the lines on this page. Ask once per page."""
        if self._lines is None:
            if self._emerging and not any(self._of.counts):
                return ""
            self._since = page.number if self._emerging else 0
            self._lines = Lines(self._heads)
        if self._since > page.mature:
            return self._lines.text(*[0] * (len(self._of.counts) + 2))
        below = tuple(accumulate(self._of.counts))
        return self._lines.text(*below, below[-1], self._of.total * self._scale)

    def _heads(self) -> Iterator[str]:
        bounds = (number(float(bound * self._scale)) for bound in (*self._of.bounds, float("inf")))
        yield from heads(f"{self._name}_bucket", self._pairs, "le", bounds)
        own = f"{{{labels(self._pairs)}}} " if self._pairs else " "
        yield f"{self._name}_count{own}"
        yield f"{self._name}_sum{own}"


def model_labels(key: ModelKey | None) -> dict[str, str]:
    """Return the labels of a model; what concerns none has them empty."""
    return {"pipeline": key.pipeline, "model_id": key.model_id} if key else {"pipeline": "", "model_id": ""}
