"""Where containers and clients are told that they reach what is for them."""

from __future__ import annotations

import pytest

from orchd.domain.ids import ModelKey
from orchd.domain.model import ContainerLaunch, Model
from orchd.sold.runner_side.urls import RunnerUrls
from tests.jobs.model import KEY, a_model

INSIDE = a_model(ModelKey("image", "org/inside"), launch=ContainerLaunch("image"))
OUTSIDE = a_model()
GONE = ModelKey("image", "org/gone")


def urls(told: str = "", host: str = "172.18.0.1") -> RunnerUrls:
    models: dict[ModelKey, Model] = {model.key: model for model in (INSIDE, OUTSIDE)}
    made = RunnerUrls("https://pay.example/ai", told, lambda: host, lambda: models)
    made.listening(8739)
    return made


@pytest.mark.parametrize(
    ("key", "host", "base"),
    [
        (INSIDE.key, "172.18.0.1", "http://172.18.0.1:8739"),
        (INSIDE.key, "fd00::1", "http://[fd00::1]:8739"),
        (INSIDE.key, "", "http://127.0.0.1:8739"),
        (OUTSIDE.key, "172.18.0.1", "http://127.0.0.1:8739"),
        (GONE, "172.18.0.1", "http://172.18.0.1:8739"),  # The container of an entry that was taken out still runs.
    ],
)
def test_a_container_is_told_the_gateway_and_what_is_none_loopback(key: ModelKey, host: str, base: str) -> None:
    assert urls(host=host).base(key) == base


def test_what_the_operator_has_set_counts_for_all() -> None:
    told = urls(told="http://10.0.0.2:8739")
    assert {told.base(key) for key in (INSIDE.key, OUTSIDE.key, GONE)} == {"http://10.0.0.2:8739"}
    named = urls()
    named.listening(9000, "10.0.0.3")
    assert {named.base(key) for key in (INSIDE.key, OUTSIDE.key)} == {"http://10.0.0.3:9000"}


def test_all_that_is_told_is_below_one_of_the_two_addresses() -> None:
    made = urls()
    assert made.control(KEY, "session_a") == f"http://127.0.0.1:8739/runner/{KEY.slug}/session/session_a"
    assert made.channel("channel_b-in") == "https://pay.example/ai/ai/trickle/channel_b-in"
    assert made.internal_channel("channel_b-in", INSIDE.key) == "http://172.18.0.1:8739/ai/trickle/channel_b-in"
    assert made.proxy("c") == "https://pay.example/ai/run/c"
