"""Which runners that the node lists are another orchd's."""

from __future__ import annotations

import pytest

from orchd.advertise.live_runner.others import others
from orchd.advertise.live_runner.wire import DiscoveredRunner
from orchd.domain.offer import Offers
from tests.advertise.live_runner.world import key, offer

US, TAG, THEIRS = "gpu-1", "abcdefgh", "yph5qx7z"
XL, FORMER = key("xl").slug, key("former").slug
OFFERS = Offers({key("xl"): offer("xl", app="image")}, {key("former"): "it is not well"})


def seen(route: str, app: str = "image") -> str:
    """Return whose runner is seen beside ours if the node lists one under this route."""
    runner = DiscoveredRunner(app, True, 1, 0, None)
    return others({route: runner}, OFFERS, US, TAG).get(key("xl"), "")


@pytest.mark.parametrize(
    "route",
    [
        f"orchd-{US}-{XL}",
        f"orchd-{US}-{XL}-{TAG}",
        f"orchd-{US}-{FORMER}",
        f"orchd-{US}-{FORMER}-{TAG}",
        f"orchd-{US}-{key('gone').slug}-{TAG}",
        f"orchd-former-name-{XL}-{TAG}",
    ],
    ids=[
        "dynamic",
        "static",
        "of another model",
        "static, of another model",
        "of a gone model",
        "of a former instance",
    ],
)
def test_what_this_orchd_has_registered_by_any_way_is_no_other_ones(route: str) -> None:
    assert seen(route) == ""


@pytest.mark.parametrize(
    "route", [f"orchd-gpu-2-{XL}", f"orchd-gpu-2-{XL}-{THEIRS}", f"orchd-{US}-{XL}-{THEIRS}", f"orchd-{US}-b-{XL}"]
)
def test_the_runner_of_another_instance_or_with_another_ones_tag_is_seen(route: str) -> None:
    assert seen(route) == route


@pytest.mark.parametrize(("route", "app"), [("theirs", "image"), (f"orchd-gpu-2-{XL}", "video")])
def test_a_runner_that_no_orchd_has_made_or_of_another_name_is_none_of_a_rival(route: str, app: str) -> None:
    assert seen(route, app) == ""
