"""`orchd events` of real daemons: what they did and why, while they run, after a kill -9, and beside a node."""

from __future__ import annotations

import json
import secrets
import sqlite3
from pathlib import Path
from typing import Any

from orchd.database.beside import DATABASE
from orchd.history.read import KeptHistory
from tests.e2e.beside import NodeProcess, orchd_beside
from tests.e2e.conftest import Start
from tests.e2e.daemon import Daemon
from tests.e2e.scripts import PIPELINE, process

PLANTED = "planted-9c1f77aa02"


async def told(daemon: Daemon, *words: str) -> list[dict[str, Any]]:
    """Return what `orchd events --json` prints."""
    code, out = await daemon.command("events", *words, "--json", "--tail", "1000", *daemon.flags("state_dir"))
    assert code == 0, out
    return [json.loads(line) for line in out.splitlines() if line.startswith("{")]


async def until_told(daemon: Daemon, model_id: str, *kinds: str) -> list[dict[str, Any]]:
    """Wait until these kinds of events, and maybe others, were told of a model in this order; return all of it."""
    found: list[dict[str, Any]] = []

    async def so() -> bool:
        found[:] = [event for event in await told(daemon) if event["model_id"] == model_id]
        left = iter(event["kind"] for event in found)
        return all(kind in left for kind in kinds)

    await daemon.until(f"{', '.join(kinds)} of {model_id} is told", so)
    return found


async def test_a_crash_an_edit_and_an_order_are_told_with_the_reason(make: Start) -> None:
    daemon = make()
    crashing = ["sh", "-c", f"echo CUDA error: out of memory, {PLANTED} >&2; exit 3"]
    crash = process("crash", command=crashing, env={"API_TOKEN": PLANTED})
    daemon.write(process("ok"), crash)
    async with daemon:
        await until_told(daemon, "ok", "added", "start", "ready")
        events = await until_told(daemon, "crash", "added", "start", "failed", "start")
        failed = next(event for event in events if event["kind"] == "failed")
        assert failed["why"].startswith("it exited with code 3; started again in ")
        assert failed["evidence"] == "CUDA error: out of memory, ***"
        await until_told(daemon, "crash", "given_up")
        assert (await daemon.command("restart", "ok", *daemon.flags("state_dir")))[0] == 0
        events = await until_told(daemon, "ok", "restart_asked", "draining", "stopped", "start", "ready")
        [asked] = [event for event in events if event["kind"] == "restart_asked"]
        assert asked["by"]
        daemon.write(process("ok", maxSessions=-1))
        events = await until_told(daemon, "ok", "edit_refused", "held_over")
        refused = next(event for event in events if event["kind"] == "edit_refused")
        assert f"entry 1 ({PIPELINE}/ok) field maxSessions: " in refused["why"]
        await until_told(daemon, "crash", "removed")
        daemon.write(process("ok", maxSessions=3))
        events = await until_told(daemon, "ok", "held_over", "changed")
        assert [event["why"] for event in events if event["kind"] == "changed"] == ["max_sessions"]
    assert PLANTED not in json.dumps(await told(daemon))
    ended = [event["why"] for event in await told(daemon) if event["kind"] == "daemon_ending"]
    assert ended == ["SIGTERM"]


async def test_a_kill_loses_neither_events_nor_the_last_state(make: Start) -> None:
    daemon = make()
    daemon.write(process("ok"))
    async with daemon:
        await until_told(daemon, "ok", "ready")
        await daemon.kill()
        kinds = [event["kind"] for event in await told(daemon, "ok")]
        assert kinds == ["added", "start", "ready"]
        known = KeptHistory(daemon.state).last_known()
        assert known is not None
        assert (known.daemon.instance, known.daemon.ended_at) == (daemon.instance, None)
        assert [(runner.key.model_id, runner.state) for runner in known.runners] == [("ok", "ready")]
        await daemon.start()
        await until_told(daemon, "ok", "adopted", "ready")
        last = [event["why"] for event in await told(daemon) if event["kind"] == "daemon_started"][-1]
        assert "; the one before did not end cleanly, and was last alive at " in last
    known = KeptHistory(daemon.state).last_known()
    assert known is not None
    assert known.daemon.ended_at is not None
    assert known.daemon.why_ended == "SIGTERM"


async def test_what_the_node_takes_and_loses_is_told(tmp_path: Path) -> None:
    instance = f"t-hist-{secrets.token_hex(4)}"
    async with (
        NodeProcess(tmp_path / "node", "--use-live-runners") as node,
        orchd_beside(node, tmp_path / "orchd", instance, process("batch", price_per_unit=7)) as daemon,
    ):
        events = await until_told(daemon, "batch", "ready", "registered", "registered")
        assert {event["why"].partition(":")[0] for event in events if event["kind"] == "registered"} == {
            "byoc",
            "live-runner",
        }
        [up, *_] = [event["why"] for event in await told(daemon) if event["kind"] == "node_up"]
        assert up.startswith("go-livepeer has been started")
        daemon.write()
        events = await until_told(daemon, "batch", "removed", "withdrawn", "withdrawn")
        await node.kill()

        async def down() -> bool:
            return "node_down" in [event["kind"] for event in await told(daemon)]

        await daemon.until("that the node is down is told", down)


async def test_the_file_is_read_while_the_daemon_writes_and_by_the_sqlite_of_others(make: Start) -> None:
    """Another reader's open transaction holds up neither the daemon nor the command."""
    daemon = make()
    daemon.write(process("ok"))
    async with daemon:
        await until_told(daemon, "ok", "ready")
        other = sqlite3.connect(f"file:{daemon.state / DATABASE}?mode=ro", uri=True)
        try:
            other.execute("BEGIN")
            other.execute("SELECT count(*) FROM history_events").fetchone()
            daemon.write(process("ok", maxSessions=2))
            await until_told(daemon, "ok", "changed")
        finally:
            other.close()
