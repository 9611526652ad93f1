"""What the tests of whole sessions share: an orchd whose blocks come, and what is looked for in a session."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from orchd.tasks import cancel, spawn
from tests.chaos.jumping import run_jumping
from tests.doubles.sdk_client.client import Session
from tests.doubles.sdk_client.http import request
from tests.doubles.signer.rules import GO_LIVEPEER, LIVEPEER_NODE
from tests.e2e.paid.live_runner.inside import Shop, shop

SIGNERS = pytest.mark.parametrize("rules", [LIVEPEER_NODE, GO_LIVEPEER], ids=["node", "go-livepeer"])
ROUND_S = 3.01
"""From one top-up of the SDK to its next."""
GONE = "cannot go on: the payer's credit for this session of text-to-image/live is used up"


@asynccontextmanager
async def blocks_come(at: Shop) -> AsyncIterator[None]:
    """Let the L1 go on meanwhile."""
    coming = spawn(at.let_blocks_come(), name="blocks")
    try:
        yield
    finally:
        await cancel(coming)


def story(
    tmp_path: Path,
    told: Callable[[Shop], Awaitable[None]],
    more: Mapping[str, Any] = MappingProxyType({}),
    **fields: Any,
) -> None:
    """Run it with an orchd whose blocks come.

    Args:
        more: settings by section.
        fields: of each entry of aiModels.json.
    """

    async def run() -> None:
        async with shop(tmp_path, more, **fields) as at, blocks_come(at):
            await told(at)

    run_jumping(run())


async def works(session: Session) -> None:
    """See that the container is reached in the session, and is not told who pays."""
    reply = await request("POST", f"{session.app_url}/echo", {})
    names = {name.lower() for name, _ in json.loads(reply.content)["headers"]}
    assert "livepeer-session-id" in names
    assert not names & {"livepeer-payment", "livepeer-segment", "livepeer-payer-address"}


def paying(session: Session) -> bool:
    """Whether the client goes on paying: an answer that ends that must never come."""
    return session.task is not None and not session.task.done() and not session.released
