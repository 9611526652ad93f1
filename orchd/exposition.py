"""The page of `/metrics`: made of the collectors that the parts register, rendered in small pieces.

**Collectors.** A part's `metrics.py` has a collector: its `families`, and `pieces()`, which yields their lines bit by
bit. One piece is what concerns one model (or nothing but the part itself), and holds one text for each family, in the
families' order. Between pieces the event loop serves jobs, so a page of any size holds it only for moments; the lines
of one model are nevertheless of one moment. `MetricsRegistry` puts each family's lines together, as the format has it.

What the lines are written with is in `metric_lines.py`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar

from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4

from orchd.domain.ids import ModelKey
from orchd.metric_lines import Family, Page
from orchd.pieces import Measure, Pause, Pauses, Shared, Steps, at_once, chunks, with_pauses

S = TypeVar("S")

MOST_SCRAPERS = 16
"""Remembered; beyond it, those that asked longest ago are forgotten."""


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
