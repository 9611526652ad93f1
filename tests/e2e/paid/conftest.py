"""A chain of a test's own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.paid.chain import PaidChain


@pytest.fixture
async def chain(tmp_path: Path) -> AsyncIterator[PaidChain]:
    async with PaidChain.started(tmp_path) as started:
        yield started
