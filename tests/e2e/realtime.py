"""What tests of realtime video share: PyTrickle as an entry of `aiModels.json`, colours, and what must be there."""

from __future__ import annotations

from typing import Any

from tests.conftest import REQUIRE_ALL, cannot_run
from tests.docker_images import BASE
from tests.e2e.daemon import ROOT
from tests.e2e.environments import PYTRICKLE, CachedEnvironment

PIPELINE = "live-video-to-video"
APP = ROOT / "tests" / "e2e" / "pytrickle_app.py"
BLUE, ORANGE = (20, 60, 200), (220, 130, 20)
# Between a colour that was sent and the same one after two encoders.
NEAR = 12

Colour = tuple[int, ...]


def need(environment: CachedEnvironment) -> None:
    """Have an environment made where all tests must run; else go without the test if it is not there."""
    if not environment.ready():
        if not REQUIRE_ALL:
            cannot_run(f"no {environment.about}: python -m tests.e2e.environments")
        environment.make()


def name(model_id: str) -> str:
    """Return the capability's name."""
    return f"{PIPELINE}/{model_id}"


def pytrickle(model_id: str, **knobs: Any) -> dict[str, Any]:
    entry = {"pipeline": PIPELINE, "model_id": model_id, "profile": "pytrickle", "price_per_unit": 0, "warm": True}
    return {
        **entry,
        "command": [str(PYTRICKLE.python), str(APP)],
        "health": {"interval_s": 0.3},
        "stop": {"grace_s": 3},
        **knobs,
    }


def boxed(model_id: str) -> dict[str, Any]:
    """The same in a container: the environment's packages on the base image's Python, which is the same."""
    packages = next(PYTRICKLE.folder.glob("lib/python3.*/site-packages"))
    entry = pytrickle(model_id, image=BASE, pull="never", args=["python3", "/app.py"])
    del entry["command"]
    return {**entry, "volumes": [f"{packages}:/packages:ro", f"{APP}:/app.py:ro"], "env": {"PYTHONPATH": "/packages"}}


def near(frame: list[int], colour: Colour) -> bool:
    return all(abs(is_ - should) <= NEAR for is_, should in zip(frame, colour, strict=True))


def inverted(colour: Colour) -> Colour:
    return tuple(255 - value for value in colour)
