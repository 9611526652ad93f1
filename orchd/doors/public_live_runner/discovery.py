"""What Live Runner's clients find here: the document of `GET /discovery`. Pure: the clock is given.

Source: docs/protocol/livepeer-node.md, 11; docs/protocol/paid-live-runner.md, 3. A signer drops a document of more than
1 MiB, a client what does not fit its filter.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from orchd.domain.details import Details, dump_details
from orchd.doors.public_live_runner.paths import APPS
from orchd.errors import Code, JobRefused
from orchd.tickets.prices import WorkPrice

FRESH_S = 1.0
"""For how long a document stands before what it tells is looked at again."""
MOST_BYTES = 1024 * 1024
MOST_FILTERS = 64


@dataclass(frozen=True, slots=True)
class OnSale:
    """One model as clients find it.

    Attributes:
        app: what clients ask for.
        persistent: it is sold by the session; else by the job.
        price: 0 = it is free.
        taken, free: slots.
    """

    slug: str
    app: str
    persistent: bool
    price: WorkPrice
    taken: int
    free: int
    details: Details


class Discovery:
    """Keeps the document, and makes it again when it would say something else.

    Args:
        service: the URL that clients are told.
        on_sale: returns what can be had now, the first in the file first.
        now: seconds.
    """

    def __init__(self, service: str, on_sale: Callable[[], Sequence[OnSale]], now: Callable[[], float]) -> None:
        self._service = service
        self._on_sale = on_sale
        self._now = now
        self._looked_at = float("-inf")
        self._told: Sequence[OnSale] = ()
        self._runners: list[tuple[OnSale, str]] = []
        self._whole = self._joined([])

    def document(self, query: str) -> bytes:
        """Return what a client is told.

        Args:
            query: of its request. `app` and `gpu` leave out what has another name, or another GPU; each may be given
                several times, and says then what may be instead. Others mean nothing.

        Raises:
            JobRefused: BAD_REQUEST: there are too many filters.
        """
        self._look()
        apps, gpus = _filters(query)
        if not (apps or gpus):
            return self._whole
        return self._joined([runner for model, runner in self._runners if _fits(model, apps, gpus)])

    def _look(self) -> None:
        now = self._now()
        if now - self._looked_at < FRESH_S:
            return
        self._looked_at = now
        told = list(self._on_sale())
        if told == self._told:
            return
        self._told, self._runners, left = told, [], MOST_BYTES - len(self._joined([]))
        for model in told:
            runner = json.dumps(as_runner(self._service, model), separators=(",", ":"))
            left -= len(runner) + 1
            if left < 0:
                break
            self._runners.append((model, runner))
        self._whole = self._joined([runner for _, runner in self._runners])

    def _joined(self, runners: Sequence[str]) -> bytes:
        return f'[{{"address":{json.dumps(self._service)},"runners":[{",".join(runners)}]}}]\n'.encode("ascii")


def as_runner(service: str, model: OnSale) -> dict[str, Any]:
    """Return what is told of one model."""
    told: dict[str, Any] = {
        "url": f"{service}{APPS}{model.slug}/{'session' if model.persistent else 'app'}",
        "app": model.app,
        **dump_details(model.details),
        "mode": "persistent" if model.persistent else "single-shot",
        "capacity": model.taken + model.free,
        "capacity_used": model.taken,
        "capacity_available": model.free,
    }
    wei, fixed = model.price
    if wei:
        told["price_info"] = {"price": wei, "currency": "wei", "unit": "fixed" if fixed else "seconds"}
    return told


def _filters(query: str) -> tuple[frozenset[str], frozenset[str]]:
    try:
        pairs = parse_qsl(query.encode("latin-1").decode("utf-8", "replace"), max_num_fields=MOST_FILTERS)
    except ValueError as exc:
        raise JobRefused(Code.BAD_REQUEST, f"cannot tell what is asked for: more than {MOST_FILTERS} filters") from exc
    apps, gpus = (frozenset(value for name, value in pairs if name == wanted) for wanted in ("app", "gpu"))
    return apps, gpus


def _fits(model: OnSale, apps: frozenset[str], gpus: frozenset[str]) -> bool:
    gpu = model.details.gpu
    return (not apps or model.app in apps) and (not gpus or (gpu is not None and gpu.name in gpus))
