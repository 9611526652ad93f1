"""Models whose runners are child processes."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.model import HealthSpec, InferenceSpec, MetricsSpec, Model, ProcessLaunch, StopSpec, StreamSpec
from tests.runners.local import SCRIPTED

SLEEPS = ("sleep", "600")
KEY = ModelKey("text-to-image", 'org/modèle "1"')
RUNNER = RunnerId(KEY, 0, "0123456789ab")
PYTHON = sys.executable


def model_of(*argv: str, cwd: str = "/", **env: str) -> Model:
    return Model(
        key=KEY,
        launch=ProcessLaunch(argv, cwd, tuple(env.items())),
        profile="byoc",
        health=HealthSpec(),
        stream=StreamSpec(),
        inference=InferenceSpec("/text-to-image"),
        metrics=MetricsSpec(),
        stop=StopSpec(),
    )


def scripted_model(*argv: str, **script: Any) -> Model:
    """The scripted runner, by `argv` if that is given."""
    return model_of(*(argv or (PYTHON, str(SCRIPTED))), SCRIPT=json.dumps(script))


def marked(env: Mapping[str, str], **options: Any) -> subprocess.Popen[bytes]:
    """Start a child that sleeps; return once its environment can be read, which is the last thing that exec does."""
    child = subprocess.Popen(SLEEPS, env=dict(env), **options)
    while not Path(f"/proc/{child.pid}/environ").read_bytes():
        assert child.poll() is None
        time.sleep(0.001)
    return child
