"""Which models a client can use who has nothing but a session of Live Runner's."""

from __future__ import annotations

from typing import Any

import pytest

from orchd.catalog.profiles import PROFILES
from orchd.domain.model import ContainerLaunch, Model
from orchd.realtime.servable import WEBRTC, live_runner_gap
from tests.jobs.model import a_model

BOXED = ContainerLaunch("an/image")


def model(profile: str, *, persistent: bool, boxed: bool = True) -> Model:
    knobs: dict[str, Any] = {"launch": BOXED} if boxed else {}
    return a_model(profile=profile, stream=PROFILES[profile].stream, persistent=persistent, **knobs)


@pytest.mark.parametrize("profile", sorted(PROFILES))
def test_every_container_is_of_use_there_as_it_comes_but_for_webrtc(profile: str) -> None:
    usual = model(profile, persistent=PROFILES[profile].stream.post_starts_stream)
    assert bool(live_runner_gap(usual)) == (profile == WEBRTC)


@pytest.mark.parametrize("profile", sorted(name for name in PROFILES if PROFILES[name].stream.post_starts_stream))
def test_one_that_only_streams_is_of_none_where_sessions_end_with_each_request(profile: str) -> None:
    assert '"mode": "persistent"' in live_runner_gap(model(profile, persistent=False))


def test_media_by_webrtc_never_reach_a_container_of_ours() -> None:
    assert "comfystream-byoc" in live_runner_gap(model(WEBRTC, persistent=True))


def test_a_webrtc_server_of_somebody_elses_is_of_use_if_its_sessions_last() -> None:
    assert live_runner_gap(model(WEBRTC, persistent=True, boxed=False)) == ""
    assert "persistent" in live_runner_gap(model(WEBRTC, persistent=False, boxed=False))
