"""Two orchd at one go-livepeer whose models have the same names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from structlog.testing import capture_logs

from orchd.advertise.part import AdvertisePart
from orchd.node.part import NodePart
from tests.advertise.rig import until
from tests.advertise.whole import MODEL, Whole, orchd_beside
from tests.doubles.golivepeer.node import Node, NodeSettings
from tests.doubles.shared.clock import RealClock


def route(instance: str) -> str:
    return f"orchd-{instance}-{MODEL.slug}"


def label(whole: Whole, instance: str) -> str:
    """Return the route of its model if the registration is static."""
    return f"{route(instance)}-{whole.app.part(NodePart).access.tokens.tag}"


def sees(whole: Whole) -> str:
    """Return the other orchd that it sees at the node."""
    return whole.app.part(AdvertisePart).advertiser.listings.others.get(MODEL, "")


async def test_they_see_and_name_one_another_although_their_slots_are_as_many(tmp_path: Path) -> None:
    flags = NodeSettings(use_live_runners=True, plain_http=True)
    with capture_logs() as said:
        async with (
            Node(flags, RealClock()) as node,
            orchd_beside(node, tmp_path / "a", instance="a", check_s=0.2) as one,
        ):
            await one.offered()
            assert sees(one) == ""
            async with orchd_beside(node, tmp_path / "b", instance="b", check_s=0.2) as other:

                def named() -> set[tuple[str, str]]:
                    told = [line for line in said if line["event"] == "byoc_contested"]
                    return {(line["instance"], line["other"]) for line in told}

                await until("each names the other", lambda: named() == {("a", route("b")), ("b", route("a"))})
                assert (sees(one), sees(other)) == (route("b"), route("a"))
            await until("the other one is gone", lambda: sees(one) == "")
    lines = [line for line in said if line["event"] == "byoc_contested"]
    assert len(lines) == 2, "each says it once"
    assert all(line["capability"] == str(MODEL) and line["log_level"] == "warning" for line in lines)


async def test_an_orchd_with_static_runners_does_not_take_its_own_for_another_ones(tmp_path: Path) -> None:
    flags = NodeSettings(use_live_runners=True, plain_http=True)
    rest: dict[str, Any] = {"instance": "same", "live_runner": "static", "check_s": 0.2}
    async with Node(flags, RealClock()) as node, orchd_beside(node, tmp_path / "a", **rest) as one:
        await until("it has seen its own", lambda: (now := one.standing()) and now.confirmed)
        assert sees(one) == ""
        async with orchd_beside(node, tmp_path / "b", **rest) as other:
            seen = label(other, "same"), label(one, "same")
            await until("each sees the other's", lambda: (sees(one), sees(other)) == seen)
