"""A model to serve, for tests."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from orchd.domain.ids import Address, ModelKey, RunnerId
from orchd.domain.model import ExternalLaunch, HealthSpec, InferenceSpec, MetricsSpec, Model, StopSpec, StreamSpec

KEY = ModelKey("image", "org/one")
ADDRESS = Address("127.0.0.1", 9000)


def a_model(key: ModelKey = KEY, **knobs: Any) -> Model:
    model = Model(
        key=key,
        launch=ExternalLaunch(ADDRESS),
        profile="byoc",
        health=HealthSpec(),
        stream=StreamSpec(),
        inference=InferenceSpec(f"/{key.pipeline}"),
        metrics=MetricsSpec(),
        stop=StopSpec(),
    )
    return replace(model, **knobs)


def runner_of(key: ModelKey, replica: int = 0) -> RunnerId:
    return RunnerId(key, replica, "0123456789ab")
