"""Start the server under test: the one place of this suite that knows how.

`python -m tests.blackbox.serve RUNNER_PORT` serves fixed models on that runner, prints one line of JSON with its
ports, and ends on SIGTERM as a daemon does. On the second port, GET answers what the table holds.
"""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Mapping

import structlog
from prometheus_client import CollectorRegistry

from orchd.domain.ids import Address, ModelKey, RunnerId
from orchd.domain.model import (
    ExternalLaunch,
    HealthSpec,
    InferenceSpec,
    MetricsSpec,
    Model,
    Secret,
    StopSpec,
    StreamSpec,
)
from orchd.errors import Code
from orchd.jobs.hooks import AcceptAll, Hooks
from orchd.jobs.server import JobServer
from orchd.metrics import Metrics
from orchd.sessions.table import SessionTable
from orchd.settings import JobsSettings

SETTINGS = JobsSettings(
    listen="127.0.0.1:0", hold_timeout_s=20, between_bytes_timeout_s=2, connect_timeout_s=2, refused_body_s=2
)
UNREACHABLE = Address("127.0.0.1", 9)


def model(pipeline: str, model_id: str, address: Address, path: str, **knobs: object) -> Model:
    known: dict[str, object] = {"max_sessions": 8, "token": None, "timeout_s": 10.0, "max_body_mb": 0, "stream": False}
    knobs = {**known, **knobs}
    return Model(
        key=ModelKey(pipeline, model_id),
        launch=ExternalLaunch(address),
        profile="byoc",
        health=HealthSpec(),
        stream=StreamSpec(post_starts_stream=bool(knobs["stream"])),
        inference=InferenceSpec(path, float(str(knobs["timeout_s"])), int(str(knobs["max_body_mb"]))),
        metrics=MetricsSpec(),
        stop=StopSpec(),
        max_sessions=int(str(knobs["max_sessions"])),
        token=Secret(str(knobs["token"])) if knobs["token"] else None,
    )


def models(runner: Address) -> tuple[Model, ...]:
    return (
        model("image", "org/one", runner, "/echo"),
        model("image", "org/two", runner, "/raw"),
        model("solo", "org/only", runner, "/raw"),
        model("live-video-to-video", "tint", runner, "/echo"),
        model("single", "one", runner, "/echo", max_sessions=1),
        model("secret", "one", runner, "/echo", token="s3cret"),
        model("small", "one", runner, "/raw", max_body_mb=1),
        model("impatient", "one", runner, "/echo", timeout_s=0.5),
        model("patient", "one", runner, "/echo", timeout_s=600.0),
        model("gone", "one", UNREACHABLE, "/echo"),
        model("stream", "one", runner, "/echo", stream=True),
        model("unready", "one", runner, "/echo"),
        model("cold", "one", runner, "/echo"),
    )


async def serve(runner_port: int) -> None:
    runner = Address("127.0.0.1", runner_port)
    offered: Mapping[ModelKey, Model] = {each.key: each for each in models(runner)}
    metrics = Metrics(CollectorRegistry(), "test")
    cold = ModelKey("cold", "one")

    def started(key: ModelKey) -> None:
        """A start takes its time; here, until GET /start-cold."""

    table = SessionTable(on_idle=lambda _: None, on_wanted=started)
    for key, each in offered.items():
        metrics.define(key, each.max_sessions)
        table.define(key, each.max_sessions, SETTINGS.hold_limit)
        if key.pipeline not in ("unready", "cold"):
            address = each.launch.address if isinstance(each.launch, ExternalLaunch) else runner
            table.open(RunnerId(key, 0, each.generation), address, None)
    table.set_closed(ModelKey("unready", "one"), startable=False, code=Code.NOT_READY, reason="it is loading")
    table.set_closed(cold, startable=True, code=Code.NOT_READY, reason="it is cold")

    def status(key: ModelKey) -> tuple[bool, str]:
        return (False, "it is loading") if key.pipeline in ("unready", "cold") else (True, "")

    server = JobServer(
        SETTINGS,
        table,
        lambda: offered,
        status,
        Hooks([AcceptAll()], timeout_s=SETTINGS.hook_timeout_s),
        metrics,
        lambda _: None,
    )
    await server.start()

    async def control(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = await reader.readuntil(b"\r\n\r\n")
        if line.startswith(b"GET /start-cold"):
            table.open(RunnerId(cold, 0, offered[cold].generation), runner, None)
        if line.startswith(b"GET /stop-cold"):
            table.close(RunnerId(cold, 0, offered[cold].generation), Code.NOT_READY, "it is cold")
            table.set_closed(cold, startable=True, code=Code.NOT_READY, reason="it is cold")
        state = {
            "active": {str(key): table.active(key) for key in offered},
            "waiting": {str(key): table.waiting(key) for key in offered},
        }
        body = json.dumps(state).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (len(body), body))
        await writer.drain()
        writer.close()

    side = await asyncio.start_server(control, "127.0.0.1", 0)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    print(json.dumps({"port": server.port, "control": side.sockets[0].getsockname()[1]}), flush=True)
    await stop.wait()
    server.stop_accepting()
    await server.drain(1.0)
    await server.close()
    side.close()


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(serve(int(sys.argv[1])))
