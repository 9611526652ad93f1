"""What the tests of a whole orchd on a jumping clock have in common."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from orchd.catalog import watch
from orchd.node.route_secrets import RouteSecrets


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Without inotify, whose thread lives in real time; tokens in the loop's; the garbage collector as it is."""

    async def nothing(_places: watch.Places) -> AsyncIterator[object]:
        await asyncio.Event().wait()
        yield None

    monkeypatch.setattr(watch, "_inotify", nothing)
    monkeypatch.setattr(
        "orchd.node.part.RouteSecrets", lambda key, each_s: RouteSecrets(key, each_s, lambda: time.time())
    )
    monkeypatch.setattr("orchd.app.settle_down", lambda: None)  # It looks at all objects of pytest, for 0.1 s.
    yield
    gc.unfreeze()
