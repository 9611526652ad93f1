"""The job path: through orchd, against direct calls to the same runner in the same run."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from orchd.demo import green_tint
from tests.bench.load import Load, Target, in_turns
from tests.bench.report import Row, Section
from tests.bench.waits import all_ready
from tests.e2e.daemon import Daemon
from tests.runners.local import SCRIPTED

ECHO = {
    "pipeline": "bench",
    "model_id": "echo",
    "command": [sys.executable, str(SCRIPTED), "--port", "{port}"],
    "warm": True,
    "maxSessions": 32,
    "price_per_unit": 0,
}
TINT = {**ECHO, "model_id": "tint", "command": [sys.executable, green_tint.__file__, "--port", "{port}"]}
SMALL = json.dumps({"prompt": "a small red house by the sea", "steps": 4}).encode()
FRAME = bytes(921_600)
HEAD = ("", "direct", "through orchd", "compared")


async def job_path(daemon: Daemon, turns: int, seconds: float) -> list[Section]:
    """Measure with a daemon that knows no model yet; each side is loaded `turns` times for `seconds`."""
    daemon.write(ECHO)
    await all_ready(daemon, 1)
    memory_kb = resident_kb(daemon)
    daemon.write(ECHO, TINT)
    address = {model["model_id"]: model["runners"][0]["address"] for model in await all_ready(daemon, 2)}

    def both(model_id: str, kind: str, body: bytes) -> tuple[Target, Target]:
        headers = {"Content-Type": kind}
        direct = Target.post(f"{address[model_id]}/bench", headers, body)
        return direct, Target.post(f"{daemon.url}/bench", {**headers, "X-Model-Id": model_id}, body)

    echo, tint = both("echo", "application/json", SMALL), both("tint", "application/octet-stream", FRAME)
    await in_turns(*echo, 1, connections=1, seconds=0.2)  # Whatever is made at first use is made now.
    one = await in_turns(*echo, turns, connections=1, seconds=seconds)
    sixteen = await in_turns(*echo, turns, connections=16, seconds=seconds)
    frames = await in_turns(*tint, turns, connections=4, seconds=seconds)
    return [
        Section(
            "Latency at 1 connection",
            f"POST of {len(SMALL)} bytes of JSON, one after the other, to tests/runners/scripted.py (/echo).",
            HEAD,
            tuple(_latency(*one, percent) for percent in (50, 99)),
        ),
        Section(
            "Requests per second at 16 connections",
            "The same request, as many as it takes; client, orchd and runner share this machine's cores.",
            HEAD,
            (_rate("requests/s", *sixteen, 1.0), *(_latency(*sixteen, percent) for percent in (50, 99))),
        ),
        Section(
            "Frames at 4 connections",
            f"POST of {len(FRAME):,} bytes to orchd/demo/green_tint.py, which answers as many; MB/s counts one way.",
            HEAD,
            (
                _rate("frames/s", *frames, 1.0),
                _rate("MB/s", *frames, len(FRAME) / 1e6),
                *(_latency(*frames, percent) for percent in (50, 99)),
            ),
        ),
        Section(
            "Memory",
            "Resident memory of orchd: idle with 1 ready model before its first job, and after all of the above.",
            ("", "idle", "after the load"),
            (Row(("RSS", f"{memory_kb / 1024:.1f} MiB", f"{resident_kb(daemon) / 1024:.1f} MiB")),),
        ),
    ]


def _latency(direct: Load, through: Load, percent: float) -> Row:
    plain, ours = direct.percentile_us(percent), through.percentile_us(percent)
    return Row((f"p{percent:g}", f"{plain:,.0f} us", f"{ours:,.0f} us", f"{ours - plain:+,.0f} us"))


def _rate(name: str, direct: Load, through: Load, factor: float) -> Row:
    plain, ours = direct.per_second * factor, through.per_second * factor
    return Row((name, f"{plain:,.0f}", f"{ours:,.0f}", f"x {ours / plain:.2f}"))


def resident_kb(daemon: Daemon) -> int:
    """Return VmRSS of the daemon, KiB."""
    assert daemon.process is not None
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{daemon.process.pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1])
