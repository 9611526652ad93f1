"""Models for tests, made short."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from orchd.domain.ids import Address, ModelKey
from orchd.domain.model import (
    ContainerLaunch,
    ExternalLaunch,
    HealthSpec,
    InferenceSpec,
    MetricsSpec,
    Model,
    StopSpec,
    StreamSpec,
)


def container_model(name: str = "a", image: str = "image:1", **changes: Any) -> Model:
    """Return a warm container model `text-to-image/NAME`."""
    model = Model(
        key=ModelKey("text-to-image", name),
        launch=ContainerLaunch(image),
        profile="byoc",
        health=HealthSpec(),
        stream=StreamSpec(),
        inference=InferenceSpec("/text-to-image"),
        metrics=MetricsSpec(),
        stop=StopSpec(),
        warm=True,
    )
    return replace(model, **changes)


def external_model(name: str = "x", port: int = 9000, **changes: Any) -> Model:
    """Return a model that somebody else runs."""
    return replace(container_model(name), launch=ExternalLaunch(Address("127.0.0.1", port)), **changes)
