"""The page of `/metrics`: made of the collectors that the parts register, rendered in small pieces.

**Collectors.** A part's `metrics.py` has a collector: its `families`, and `pieces()`, which yields their lines bit by
bit. One piece is what concerns one model (or nothing but the part itself), and holds one text for each family, in the
families' order. Between pieces the event loop serves jobs, so a page of any size holds it only for moments; the lines
of one model are nevertheless of one moment. `MetricsRegistry` puts each family's lines together, as the format has it.

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
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Generic, Literal, Protocol, TypeVar

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.utils import floatToGoString

from orchd.domain.ids import ModelKey
from orchd.pieces import Measure, Pause, Pauses, Shared, Steps, at_once, chunks, with_pauses

S = TypeVar("S")

MOST_SCRAPERS = 16
"""Remembered; beyond it, those that asked longest ago are forgotten."""


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its name as its `# TYPE` line has it (counters with `_total`), its type and its help text."""

    name: str
    type: Literal["counter", "gauge", "histogram"]
    help: str

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


class Collector(Protocol):
    """What a part's `metrics.py` offers."""

    @property
    def families(self) -> Sequence[Family]:
        """Its metrics, in the order of the page. No other collector has lines of them."""

    def pieces(self, page: Page) -> Iterator[Sequence[str]]:
        """Yield the lines that there are now, for each family (in order) one text of whole lines, or an empty one.

        The event loop runs between two pieces: models may come and go meanwhile. So don't iterate over a live dict, and
        keep each piece to one model or to a few lines.
        """


class PerModel(Generic[S]):
    """A collector's series of each model that is defined."""

    def __init__(self, make: Callable[[ModelKey], S]) -> None:
        self._make = make
        self._series: dict[ModelKey, S] = {}
        self.get = self._series.get
        """Return the series of a model; None = it is not defined. The dict's own method: jobs call it."""

    def define(self, key: ModelKey) -> None:
        self._series[key] = self._make(key)

    def forget(self, key: ModelKey) -> None:
        del self._series[key]

    def now(self) -> tuple[tuple[ModelKey, S], ...]:
        """Return all, as they are now: safe to iterate over with pauses."""
        return tuple(self._series.items())


class MetricsRegistry:
    """All collectors, and the pages made of them.

    Args:
        pause: awaited between pieces; lets the event loop do what is due. None = `Pauses`.
    """

    content_type = CONTENT_TYPE_PLAIN_0_0_4

    def __init__(self, pause: Pause | None = None) -> None:
        self._pause = pause or Pauses()
        self._collectors: list[Collector] = []
        self._page = Page(0, 0)
        self._scrapers: OrderedDict[str, int] = OrderedDict()
        self._shared: Shared[tuple[bytes, ...]] = Shared("render metrics")
        self._models: dict[ModelKey, None] = {}
        self._per_model: list[PerModel[Any]] = []

    # -- models ------------------------------------------------------------------------------------------------------

    def define(self, key: ModelKey) -> None:
        """Make the series of a model in each collector; one that has them keeps them."""
        if key not in self._models:
            self._models[key] = None
            for each in self._per_model:
                each.define(key)

    def forget(self, key: ModelKey) -> None:
        """Drop the series of a model; what is told of it afterwards, except of its jobs, is dropped too."""
        if key in self._models:
            del self._models[key]
            for each in self._per_model:
                each.forget(key)

    def models(self) -> tuple[ModelKey, ...]:
        """Return those that are defined now."""
        return tuple(self._models)

    def per_model(self, make: Callable[[ModelKey], S]) -> PerModel[S]:
        """Return the series of a collector by model, made by `make` when a model is defined."""
        series = PerModel(make)
        self._per_model.append(series)
        for key in self._models:
            series.define(key)
        return series

    # -- pages -------------------------------------------------------------------------------------------------------

    def register(self, collector: Collector) -> None:
        """Show what it has, below what was registered before.

        Raises:
            ValueError: one of its families is there already.
        """
        known = {family.name for one in self._collectors for family in one.families}
        for family in collector.families:
            if family.name and family.name in known:
                raise ValueError(f"cannot register {family.name}: another collector has it")
            known.add(family.name)
        self._collectors.append(collector)

    async def page(self, scraper: str = "") -> Sequence[bytes]:
        """Return all metrics in Prometheus' text format, of `content_type`, in chunks. Who asks meanwhile shares them.

        Args:
            scraper: who asks; tells apart those that have seen the last page from those that have not.
        """
        if self._shared.idle:
            self._next(scraper)
        page = self._page
        rendered = await self._shared.result(lambda: with_pauses(self._steps(page), self._pause))
        self._got(scraper, page.number)
        return rendered

    def render(self, scraper: str = "") -> bytes:
        """Return the same at once, without pauses: for a program that has nothing else to do."""
        self._next(scraper)
        self._got(scraper, self._page.number)
        return b"".join(at_once(self._steps(self._page)))

    def _next(self, scraper: str) -> None:
        mature = max(self._page.mature, self._scrapers.get(scraper, 0))
        self._page = Page(self._page.number + 1, mature)

    def _got(self, scraper: str, number: int) -> None:
        self._scrapers[scraper] = max(number, self._scrapers.pop(scraper, 0))
        if len(self._scrapers) > MOST_SCRAPERS:
            self._scrapers.popitem(last=False)

    def _steps(self, page: Page) -> Steps[tuple[bytes, ...]]:
        """Render, and return the chunks."""
        made: list[bytes] = []
        for collector in tuple(self._collectors):
            texts: list[list[str]] = [[family.head()] for family in collector.families]
            measure = Measure()
            for piece in collector.pieces(page):
                for lines, text in zip(texts, piece, strict=True):
                    if text:
                        lines.append(text)
                if measure.due(sum(map(len, piece))):
                    yield
            for lines in texts:
                for chunk in chunks(lines):
                    made.append(chunk)
                    yield
        return tuple(made)


# -- what collectors write their lines with --------------------------------------------------------------------------


def labels(pairs: Mapping[str, str]) -> str:
    """Return `name="value",...`, escaped, in the order of the names, as prometheus-client has it."""
    return ",".join(f'{name}="{escape(pairs[name])}"' for name in sorted(pairs))


def heads(name: str, pairs: Mapping[str, str], label: str, words: Iterable[str]) -> Iterator[str]:
    """Yield what stands before each value: the name, `pairs`, and each of the words as `label`.

    A model has some dozens of them, so what they have in common is written once.
    """
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
        heads: what stands before each value: name, labels and a space.
    """

    __slots__ = ("_heads", "_text", "_values")

    def __init__(self, heads: Iterable[str]) -> None:
        self._heads = tuple(heads)
        self._values: tuple[float, ...] = ()
        self._text = ""

    @classmethod
    def of(cls, name: str, pairs: Mapping[str, str], label: str = "", words: Iterable[str] = ()) -> Lines:
        """Return those with the labels `pairs`, and with each of the words as `label`; without `label`, one line."""
        return cls(heads(name, pairs, label, words) if label else (f"{name}{{{labels(pairs)}}} ",))

    @property
    def shown(self) -> bool:
        """They have been on a page."""
        return bool(self._text)

    def text(self, *values: float) -> str:
        """Return the lines with these values, one for each."""
        if values != self._values or not self._text:
            self._values = values
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
            self._lines = Lines(self._heads())
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
