"""What node-static.json needs: static runners whose health changes."""

from __future__ import annotations

from tests.doubles.livepeer_node.replay import Replay, Stage
from tests.doubles.livepeer_node.staging import LISTED_S, get, session_of
from tests.doubles.shared.recordings import Step, expect


async def static_file(replay: Replay, step: Step) -> None:
    file = replay.folder / "static.toml"
    file.write_text(replay.ours(step["toml"]))
    await replay.restarted(runner_config=file, health_grants=["127.0.0.1:9902"])


async def listed_after_start(replay: Replay, step: Step) -> None:
    await changes(replay, "st-health", listed=True, after=step["seconds_after_start"], before=0.0)


async def changes(replay: Replay, runner_id: str, *, listed: bool, after: float, before: float) -> None:
    """Discovery changes by then, and has not `LISTED_S` before; `before` = seconds that have passed already."""
    await replay.clock.advance(max(0.0, after - before - LISTED_S))
    expect(await shows(replay, runner_id), not listed, f"{runner_id} listed early")
    await replay.clock.advance(2 * LISTED_S)
    expect(await shows(replay, runner_id), listed, f"{runner_id} listed")


async def shows(replay: Replay, runner_id: str) -> bool:
    return f"/apps/{runner_id}/" in (await get(replay, "/discovery")).text


async def unhealthy(replay: Replay, step: Step) -> None:
    """One failure is enough; the stream of its session is cut."""
    stream = await replay.connect()
    await session_of(replay, stream, "st-health", replay.known["<session-1>"], "endless")
    replay.second.health_status = 204
    await changes(replay, "st-health", listed=False, after=step["hidden_after_seconds"], before=LISTED_S)
    expect((await stream.rest()).endswith("0\r\n\r\n"), not step["open_stream_ended"], "the stream goes on")


async def healthy(replay: Replay, step: Step) -> None:
    replay.second.health_status = 200
    replay.second.health_delay_s = 0.0
    await changes(replay, "st-health", listed=True, after=step["listed_after_seconds"], before=LISTED_S)


async def slow(replay: Replay, step: Step) -> None:
    """Asked after 5 s, given up after 5 more."""
    replay.second.health_delay_s = 6.0
    await changes(replay, "st-health", listed=False, after=step["hidden_after_seconds"], before=LISTED_S)


async def without_health_grants(replay: Replay, step: Step) -> None:
    await replay.restarted(health_grants=[])
    await replay.clock.advance(6.5)
    expect(await shows(replay, "st-health"), step["listed"], "st-health listed")


STAGES: dict[str, Stage] = {
    "node-static.json": Stage(
        instead={
            "the static file": static_file,
            "listed": listed_after_start,
            "health answers 204 (not the expected 200)": unhealthy,
            "health answers 200 again": healthy,
            "health takes 6 s": slow,
            "health at once again": healthy,
            "without HealthGrants, 6.5 s after start": without_health_grants,
        }
    ),
}
