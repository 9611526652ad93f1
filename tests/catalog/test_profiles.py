"""The profiles against the container contract's table 5.3, cell by cell where it departs from the default."""

from __future__ import annotations

from typing import Any

import pytest

from orchd.catalog.profiles import PROFILES
from orchd.domain.model import HealthKind, HealthSpec, StopSpec

JSON, STATUS, TCP = HealthKind.HTTP_JSON, HealthKind.HTTP_STATUS, HealthKind.TCP


def test_the_contract_s_letters_are_all_there() -> None:
    assert sorted(profile.about[0] for profile in PROFILES.values()) == list("ABCDEFGHIJ")


@pytest.mark.parametrize(
    ("name", "port", "kind", "path", "inference", "prefix", "signal", "start"),
    [
        ("byoc", 8000, JSON, "/health", "/{pipeline}", "auto", "SIGTERM", 180),
        ("pytrickle", 8000, JSON, "/health", "/live-video-to-video", "", "SIGINT", 180),
        ("pytrickle-api", 8000, JSON, "/health", "/live-video-to-video", "/api", "SIGINT", 180),
        ("ai-runner", 8000, JSON, "/health", "/{pipeline}", None, "SIGTERM", 180),
        ("ai-runner-live", 8000, JSON, "/health", "/live-video-to-video", None, "SIGTERM", 180),
        ("comfystream-byoc", 8000, JSON, "/health", "/live-video-to-video", "", "SIGINT", 600),
        ("comfystream", 8889, STATUS, "/health", "/offer", None, "SIGTERM", 180),
        ("app", 9876, JSON, "/health", "/{pipeline}", None, "SIGTERM", 180),
        ("bare", 8000, TCP, "/health", "/{pipeline}", None, "SIGTERM", 180),
        ("healthz", 8080, STATUS, "/healthz", "/{pipeline}", None, "SIGTERM", 180),
    ],
)
def test_routes_and_times(
    name: str, port: int, kind: HealthKind, path: str, inference: str, prefix: str | None, signal: str, start: float
) -> None:
    profile = PROFILES[name]
    assert (profile.port, profile.health.kind, profile.health.path) == (port, kind, path)
    assert (profile.inference_path, profile.stream.route_prefix) == (inference, prefix)
    assert (profile.stop.signal, profile.stop.grace_s, profile.start_timeout_s) == (signal, 10, start)


@pytest.mark.parametrize(
    ("name", "departures"),
    [
        ("byoc", {}),
        ("pytrickle", {"ready": ("idle",), "busy": ("ok",)}),
        ("pytrickle-api", {"ready": ("idle",), "busy": ("ok",)}),
        ("ai-runner", {}),
        ("ai-runner-live", {"ready": ("idle",), "busy": ("ok",), "early_loading_codes": (500,), "failures": 3}),
        ("comfystream-byoc", {"ready": ("idle",), "busy": ("ok",)}),
        ("comfystream", {"kind": STATUS, "unparsed_as": "ready"}),
        ("app", {}),
        ("bare", {"kind": TCP, "unparsed_as": "ready"}),
        ("healthz", {"kind": STATUS, "path": "/healthz", "loading_codes": (503,)}),
    ],
)
def test_health_departs_from_the_default_only_there(name: str, departures: dict[str, Any]) -> None:
    assert PROFILES[name].health == HealthSpec(**departures)


def test_the_default_of_health_is_the_table_s() -> None:
    assert HealthSpec() == HealthSpec(
        JSON, "/health", "status", ("ok", "idle", "ready", "healthy"), (), ("loading", "initializing", "starting"),
        ("error", "failed"), (200,), (), (), "unknown", 5, 5, 2, 1,
    )  # fmt: skip


def test_streams_are_closed_where_there_are_routes_for_it() -> None:
    for profile in PROFILES.values():
        assert profile.stop.close_streams == (profile.stream.route_prefix is not None)


def test_a_post_starts_a_stream_on_b_c_e_f_only() -> None:
    starting = {profile.about[0] for profile in PROFILES.values() if profile.stream.post_starts_stream}
    assert starting == set("BCEF")
    assert {profile.about[0] for profile in PROFILES.values() if profile.sessions_per_replica == 1} == starting


def test_pytrickle_kinds_read_the_capability_name_and_know_their_update_path() -> None:
    for profile in PROFILES.values():
        pytrickle = profile.about[0] in "BCF"
        assert profile.capability_name == pytrickle
        assert profile.stream.update_path == ("/stream/params" if pytrickle else "auto")


def test_only_pytrickle_kinds_stop_by_another_signal() -> None:
    for profile in PROFILES.values():
        assert (profile.stop.signal == StopSpec().signal) == (profile.about[0] not in "BCF")
