"""`orchd run`, as it is shipped, before the recording runner; both for the whole session."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from typing import Any

import pytest

from tests.blackbox import serve
from tests.blackbox.conftest import Server, stop, until
from tests.ports import free_port
from tests.wire.recorder import Recorder

FLAGS = serve.FLAGS | {
    "instance": f"t-wire-{secrets.token_hex(4)}",
    "jobs-between-bytes-timeout-s": "60",
    "jobs-connect-timeout-s": "30",
    "jobs-header-timeout-s": "60",
    "jobs-refused-body-s": "30",
}


def entries(runner: str) -> list[dict[str, Any]]:
    calm = {"interval_s": 3600, "failures": 1000}
    # The slot of a job whose answer can't be understood is taken for a while: it is not what this suite is about.
    common = {"url": runner, "maxSessions": 100_000, "price_per_unit": 0, "health": calm}
    inference = {"path": "/echo", "timeout_s": 15, "max_body_mb": 0}
    names = (("wire", "one"), ("pair", "a"), ("pair", "b"))
    return [{"pipeline": p, "model_id": m, "inference": inference} | common for p, m in names]


@pytest.fixture(scope="session")
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    try:
        yield recorder
    finally:
        recorder.close()


@pytest.fixture(scope="session")
def orchd(recorder: Recorder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("wire")
    server_port, admin_port = free_port(), free_port()
    models = entries(f"http://127.0.0.1:{recorder.port}")
    process = serve.run(folder, models, FLAGS, server_port, admin_port)
    try:
        until(lambda: process.poll() is not None or serve.settled(admin_port), "it is up")
        assert process.poll() is None, (folder / "log").read_text()
        yield Server(server_port, admin_port, process.pid)
    finally:
        code = stop(process)
    assert code == 0
    assert '"level": "error"' not in (folder / "log").read_text(), "orchd logged a fault of its own"
