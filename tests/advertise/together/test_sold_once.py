"""The whole daemon: a node sells what others have left of a model, and a slot that is gone costs its runner nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from orchd.domain.outcomes import Outcome
from orchd.sessions.part import SessionsPart
from orchd.sessions.session import Session, SessionKind
from tests.advertise.rig import livepeer_node, node, until
from tests.advertise.whole import MODEL, SECRET, orchd_beside
from tests.doubles.golivepeer.node import Node
from tests.doubles.livepeer_node.node import Node as LivepeerNode
from tests.doubles.shared import caller

ENTRIES: list[dict[str, Any]] = [
    {"pipeline": MODEL.pipeline, "model_id": MODEL.model_id, "price_per_unit": 10**9, "maxSessions": 2}
]


def sold(double: Node | LivepeerNode) -> int:
    """Return how many sessions of the model the node would still give out."""
    shown = double.live_runners.offered()
    return sum(each["capacity_available"] for each in shown if each["app"] == str(MODEL))


def runners(double: Node | LivepeerNode) -> list[str]:
    """Return where the node reaches the model; orchd tries its way by a runner of another name."""
    return [one.entry.runner_url for one in double.live_runners.registry.runners() if one.entry.app == str(MODEL)]


@pytest.mark.parametrize("program", ["go-livepeer", "livepeer-node"])
async def test_a_node_sells_what_others_have_left_and_a_job_for_a_slot_that_is_gone_gets_503(
    program: str, tmp_path: Path
) -> None:
    double = (
        livepeer_node(bootstrap_secret=SECRET.encode())
        if program == "livepeer-node"
        else node(orch_secret=SECRET, use_live_runners=True, plain_http=True)
    )
    async with double as beside, orchd_beside(beside, tmp_path / "orchd", entries=ENTRIES) as whole:
        await whole.offered()
        await until("both slots are for sale", lambda: sold(beside) == 2)
        table = whole.app.part(SessionsPart).table
        direct = [table.begin(MODEL, SessionKind.JOB)]
        await until("the other one is", lambda: sold(beside) == 1)
        [found] = runners(beside)

        direct.append(table.begin(MODEL, SessionKind.JOB))
        url = urlsplit(found)
        late = await caller.call(f"http://{url.netloc}", "POST", f"{url.path}/x", {"Livepeer-Session-Id": "s"}, b"{}")
        assert (late.status, "all its sessions are taken" in late.text) == (503, True)
        await until("none is", lambda: sold(beside) == 0 and not runners(beside))
        await until("its standing says so", lambda: (now := whole.standing()) and now.full)

        for session in direct:
            assert isinstance(session, Session)
            table.end(session, Outcome.OK)
        await until("both are again", lambda: sold(beside) == 2)
