"""How each model stands in the node's registries: read where it is kept when a page is rendered."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from orchd.advertise import registries
from orchd.domain.ids import ModelKey
from orchd.domain.offer import Callback, NodeStatus, Published
from orchd.errors import Code
from orchd.exposition import MetricsRegistry
from orchd.metric_lines import MODEL_LABELS, Family, Page, model_labels, sample

OTHER = "other"
REGISTRIES = (*registries.names(), OTHER)
REGISTRY_CODES = (
    *(Code.NODE_UNREACHABLE, Code.NODE_CERTIFICATE, Code.NODE_REFUSED, Code.NODE_SECRET),
    *(Code.NOT_SPOKEN, Code.PRICE_UNPUBLISHABLE, Code.UNSERVABLE, Code.RATE_UNAVAILABLE),
    *dict.fromkeys(code for name in registries.names() for code in registries.about(name).codes),
    OTHER,
)
"""Those that every registry may have, and those of a registry's own."""
STANDING_LABELS = (*MODEL_LABELS, "registry")

ERRORS = Family(
    "orchd_registry_errors_total",
    "counter",
    "Calls to a registry that failed, by code.",
    labels=("registry", "code"),
    unit="calls",
    good_for="which calls to the node fail, and why",
)
WANTED = Family(
    "orchd_registry_wanted",
    "gauge",
    "1 = gateways are to find it there.",
    labels=STANDING_LABELS,
    unit="0 or 1",
    good_for="what ought to be on offer",
)
PUBLISHED = Family(
    "orchd_registry_published",
    "gauge",
    "1 = the node has taken it, and no withdrawal since.",
    labels=STANDING_LABELS,
    unit="0 or 1",
    good_for="what the node was told",
)
CONFIRMED = Family(
    "orchd_registry_confirmed",
    "gauge",
    "1 = the node was seen to offer it, 0 = not to; absent = not looked yet, or it can't be seen.",
    labels=STANDING_LABELS,
    unit="0 or 1",
    good_for="what gateways can really find",
)
CHANGED = Family(
    "orchd_registry_changed_timestamp_seconds",
    "gauge",
    "Unix time when orchd_registry_published changed last; absent = never.",
    labels=STANDING_LABELS,
    unit="seconds since 1970",
    good_for="since when a model is on offer, or is not",
)
FAILING = Family(
    "orchd_registry_failing",
    "gauge",
    "1 = the last call about it failed, by code; absent = it went well.",
    labels=(*STANDING_LABELS, "code"),
    unit="1",
    good_for="why a model is not on offer",
)

CALLBACK = Family(
    "orchd_callback_reached",
    "gauge",
    "1 = a trial has reached orchd at orchestrator.callback_url, 0 = it has not; absent = not tried, or it can't be.",
    labels=("by",),
    unit="0 or 1",
    good_for="can jobs arrive at all?",
)

_NOTHING = Published(wanted=False, published=False, confirmed=None, since=0.0)

_Texts = tuple[Published, Sequence[str]]


class RegistryErrors:
    """`exposition.Collector` of calls that failed; also what counts them."""

    families = (ERRORS,)

    def __init__(self, registry: MetricsRegistry) -> None:
        self._errors = {(name, code): 0 for name in REGISTRIES for code in REGISTRY_CODES}
        registry.register(self)

    def registry_error(self, registry: str, code: str) -> None:
        """Count a call that failed."""
        self._errors[registry if registry in REGISTRIES else OTHER, _known(code)] += 1

    def pieces(self, page: Page) -> Iterator[Sequence[str]]:
        errors = self._errors.items()
        yield ("".join(sample(ERRORS.name, n, registry=name, code=code) for (name, code), n in errors),)


class CallbackCollector:
    """`exposition.Collector` of the trials of the callback URL.

    Args:
        status: returns what is known.
    """

    families = (CALLBACK,)

    def __init__(self, registry: MetricsRegistry, status: Callable[[], Callback]) -> None:
        self._status = status
        registry.register(self)

    def pieces(self, page: Page) -> Iterator[Sequence[str]]:
        found = self._status()
        known = {"orchd": found.by_us, "node": found.by_node}
        yield ("".join(sample(CALLBACK.name, int(ok), by=by) for by, ok in known.items() if ok is not None),)


class StandingsCollector:
    """`exposition.Collector` of how each model stands in each registry.

    Args:
        node: returns its status: a model has lines in every registry that is used.
        published: returns how each model stands, by registry.
    """

    families = (WANTED, PUBLISHED, CONFIRMED, CHANGED, FAILING)

    def __init__(
        self,
        registry: MetricsRegistry,
        node: Callable[[], NodeStatus | None],
        published: Callable[[], Mapping[str, Mapping[ModelKey, Published]]],
    ) -> None:
        self._models = registry.models
        self._texts: dict[tuple[str, ModelKey], _Texts] = {}
        self._node = node
        self._published = published
        registry.register(self)

    def pieces(self, page: Page) -> Iterator[Sequence[str]]:
        node, published = self._node(), dict(self._published())
        before, self._texts = self._texts, {}
        for registry in dict.fromkeys((*REGISTRIES[:-1], *published)):
            shown = dict(published.get(registry, {}))
            used = node is not None and registry in node.registries
            for key in dict.fromkeys((*(self._models() if used else ()), *shown)):
                one = shown.get(key, _NOTHING)
                known = before.get((registry, key))
                texts = known if known is not None and known[0] == one else (one, _lines(registry, key, one))
                self._texts[registry, key] = texts
                yield texts[1]


def _lines(registry: str, key: ModelKey, one: Published) -> Sequence[str]:
    """Return the lines of all families."""
    labels = {**model_labels(key), "registry": registry}
    return (
        sample(WANTED.name, int(one.wanted), **labels),
        sample(PUBLISHED.name, int(one.published), **labels),
        sample(CONFIRMED.name, int(one.confirmed), **labels) if one.confirmed is not None else "",
        sample(CHANGED.name, one.since, **labels) if one.since else "",
        sample(FAILING.name, 1, **labels, code=_known(one.code)) if one.code is not None else "",
    )


def _known(code: str) -> str:
    return code if code in REGISTRY_CODES else OTHER
