"""`orchd demo`: the product's main path in half a minute, on a sample model, leaving nothing behind."""

from __future__ import annotations

import argparse
import http.client
import json
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from orchd.cli.steps import ReaderLeft, Steps
from orchd.demo import green_tint
from orchd.demo.child import Child
from orchd.demo.frame import FrameJob, tinted
from orchd.demo.image import DemoEngine
from orchd.errors import OrchdError, reason_of
from orchd.settings.client import ClientSettings
from orchd.text import printable

Json = dict[str, Any]

FIRST, SECOND = "green-tint-cpu", "green-tint-two"
PROGRAM = Path(green_tint.__file__)
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
DOWN_STATES = ("backoff", "failed")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--runtime",
        choices=("process", "docker"),
        default="process",
        help="run the model as a child process (default) or as a container, whose image is built on $ORCHD_DEMO_BASE "
        "(default: python:3.11-slim)",
    )


def run(args: argparse.Namespace, _settings: ClientSettings) -> int:
    for number in ENDING:
        if signal.getsignal(number) is signal.SIG_DFL:  # Else somebody wants it so, such as nohup.
            signal.signal(number, signal.default_int_handler)
    steps = Steps(sys.stdout)
    docker = args.runtime == "docker"
    child: Child | None = None
    engine: DemoEngine | None = None
    failed = False
    try:
        with uninterrupted():
            child = Child(docker=docker)
        steps.say(f"orchd demo: {args.runtime} runtime, instance {child.instance}, files in {child.folder}\n")
        if docker:
            engine = DemoEngine(child.instance)
        _show(steps, child, engine)
    except ReaderLeft:  # Not a failure: what runs is stopped below, and `main` ends in silence.
        raise
    except (OrchdError, OSError, http.client.HTTPException) as exc:
        failed = True
        _tell_failure(exc, child)
    finally:
        with uninterrupted(), steps.step("leave nothing behind") as step:
            _clean_up(child, engine)
            step.result = "daemon, runners and files are gone"
    if failed:
        return 2
    steps.say(f"\nDone in {steps.took_s:.1f} s. Next: write an aiModels.json of your own and start `orchd run`.")
    return 0


def _tell_failure(exc: Exception, child: Child | None) -> None:
    why = reason_of(exc) if isinstance(exc, OSError) else exc
    lines = [exc.message if isinstance(exc, OrchdError) else f"cannot finish the demo: {why}"]
    if child is not None and not isinstance(exc, OrchdError) and child.exit_code is not None:
        lines[0] += f"; `orchd run` ended with exit code {child.exit_code}"
    if child is not None and (log := child.last_log()):
        lines += ["The last lines of its log:", *(f"    | {printable(line)}" for line in log)]
    print("\norchd: " + "\n".join(lines) + "\n", file=sys.stderr, flush=True)


def _clean_up(child: Child | None, engine: DemoEngine | None) -> None:
    with ExitStack() as stack:  # The child first, which removes its own containers; the engine's part in any case.
        if engine is not None:
            stack.callback(engine.close)
        if child is not None:
            stack.callback(child.close)


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put off Ctrl-C and its like until the block is done: what begins in it is known, what ends in it is over."""
    arrived: list[int] = []
    before = {number: signal.signal(number, lambda number, _: arrived.append(number)) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if arrived:
        raise KeyboardInterrupt


def _show(steps: Steps, child: Child, engine: DemoEngine | None) -> None:
    launch: Json = {"command": [sys.executable, str(PROGRAM), "--port", "{port}"]}
    if engine is not None:
        with steps.step("build an image of the model") as step:
            base = engine.build(PROGRAM, step.progress)
            step.result = f"{engine.image}, from {base}"
        launch = {"image": engine.image, "pull": "never"}
    first, second = (
        {"pipeline": "live-video-to-video", "model_id": name, **launch, "warm": True, "price_per_unit": 0}
        for name in (FIRST, SECOND)
    )

    with steps.step(f"write {FIRST} to aiModels.json") as step:
        child.write_models([first])
        step.result = "live-video-to-video, warm, price 0"
    with steps.step("start `orchd run`") as step:
        with uninterrupted():
            child.start()
        child.until("reach orchd", child.is_up)
        step.result = f"takes jobs on 127.0.0.1:{child.jobs_port}"
    with steps.step(f"wait until {FIRST} is ready") as step:
        step.result = _ready(child, FIRST)
    with steps.step("send a black frame, 640x480 RGB") as step:
        step.result = _send_frame(child, FIRST)

    with steps.step(f"add {SECOND} to the file") as step:
        child.write_models([first, second])
        step.result = f"no restart; {_ready(child, SECOND)}"
    with steps.step(f"send a frame to {SECOND}") as step:
        step.result = _send_frame(child, SECOND)

    with FrameJob(child.jobs_port, FIRST) as job:
        with steps.step(f"remove {FIRST}, half a frame sent") as step:
            child.until("begin a job", lambda: _sessions(child) == 1)
            child.write_models([second])
            child.until(f"drain {FIRST}", lambda: (child.model(FIRST) or {}).get("leaving"))
            step.result = f"draining, {_sessions(child)} session left; it takes no new ones"
        with steps.step("send the other half") as step:
            step.result = tinted(*job.finish())
    with steps.step(f"wait until {FIRST} is gone") as step:
        child.until(f"see {FIRST} gone", lambda: child.model(FIRST) is None)
        step.result = _refusal(child)
    with steps.step(f"send a frame to {SECOND}") as step:
        step.result = _send_frame(child, SECOND)


def _ready(child: Child, model_id: str) -> str:
    """Wait until the model is ready, and return what runs it."""

    def ready() -> str | None:
        if (model := child.model(model_id)) is None:
            return None
        for runner in model["runners"]:
            if runner["state"] in DOWN_STATES:
                raise OrchdError("\n    ".join([f"cannot start {model_id}: {runner['detail']}", *runner["last_log"]]))
            if model["ready"]:
                return f"a {model['kind']} at {runner['address']}"
        return None

    return child.until(f"get {model_id} ready", ready)


def _send_frame(child: Child, model_id: str) -> str:
    with FrameJob(child.jobs_port, model_id) as job:
        return tinted(*job.finish())


def _sessions(child: Child) -> int:
    model = child.model(FIRST)
    return model["sessions"]["active"] if model else 0


def _refusal(child: Child) -> str:
    with FrameJob(child.jobs_port, FIRST) as job:
        status, body = job.finish()
    text = body.decode(errors="replace")
    if status != 404 or SECOND not in text:
        raise OrchdError(f"cannot see {FIRST} refused: HTTP {status}: {text}")
    return f"404: {json.loads(body)['message']}"
