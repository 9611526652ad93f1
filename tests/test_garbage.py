"""What an edit has made is excluded from garbage collection a while after it, and only then."""

from __future__ import annotations

import asyncio
import gc

import pytest

from orchd.garbage import EXCLUDE_AFTER_S, LongLived
from tests.virtual_time import virtual_time


@virtual_time
async def test_what_edits_have_made_is_excluded_once_after_the_last_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen: list[float] = []
    now = asyncio.get_running_loop().time
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(now()))
    long_lived = LongLived()
    for _ in range(3):
        long_lived.edited()
        await asyncio.sleep(EXCLUDE_AFTER_S / 2)
    edited_last = now() - EXCLUDE_AFTER_S / 2
    await asyncio.sleep(10 * EXCLUDE_AFTER_S)
    assert frozen == [pytest.approx(edited_last + EXCLUDE_AFTER_S)]
    long_lived.edited()
    long_lived.close()
    await asyncio.sleep(10 * EXCLUDE_AFTER_S)
    assert len(frozen) == 1
