"""The node's event channel, read from the double's trickle server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from aiohttp import web

from orchd import tasks
from orchd.advertise.live_runner import event_channel
from orchd.advertise.live_runner.event_channel import ChannelEnd, SessionEvent, follow, parse
from orchd.advertise.settings import OrchestratorSettings
from orchd.domain.model import Secret
from orchd.node.client import NodeClient
from tests.advertise import rig

CHANNEL = "orchd-xl-abc-o2r"


def _message(event: str, session: str) -> bytes:
    return json.dumps({"event": event, "session": session, "timestamp": "2026-08-01T10:00:00Z"}).encode()


@pytest.mark.parametrize(
    ("segment", "event"),
    [
        (_message("reserved", "a"), SessionEvent("a", begins=True)),
        (_message("released", "a"), SessionEvent("a", begins=False)),
        (_message("renamed", "a"), None),
        (_message("reserved", ""), None),
        (b'{"keep":"alive"}', None),
        (b'{"event":"reserved","session":7}', None),
        (b"[]", None),
        (b"", None),
        (b"\xff", None),
    ],
)
def test_a_segment_is_about_a_session_or_nothing(segment: bytes, event: SessionEvent | None) -> None:
    assert parse(segment) == event


async def _collect(client: NodeClient, heard: list[SessionEvent], url: str) -> ChannelEnd:
    return await follow(client, Secret(url), heard.append)


async def test_events_are_heard_in_order_until_the_channel_is_closed() -> None:
    async with rig.node(plain_http=True) as node, rig.client_of(rig.settings_for(node)) as client:
        node.trickle.create(CHANNEL, "application/json")
        heard: list[SessionEvent] = []
        # The node may give an address that only it can reach: the channel is looked for at its service port.
        url = f"https://orch.example.com:8935/ai/trickle/{CHANNEL}"
        following = tasks.spawn(_collect(client, heard, url), name="follow")

        async def publish(event: str, session: str) -> None:
            node.trickle.channels.publish(CHANNEL, b'{"keep":"alive"}')
            node.trickle.channels.publish(CHANNEL, _message(event, session))

        while not heard:  # Until the first GET waits for it, it is told to nobody.
            await publish("reserved", "a")
            await asyncio.sleep(0.01)
        heard.clear()
        for session in "bcd":
            before = len(heard)
            await publish("reserved", session)
            await publish("released", session)
            await rig.until("both are heard", lambda before=before: len(heard) >= before + 2)  # type: ignore[misc]
        wanted = [SessionEvent(session, begins=begins) for session in "bcd" for begins in (True, False)]
        assert [event for event in heard if event.session != "a"] == wanted
        node.trickle.close(CHANNEL)
        await rig.until("the end is noticed", following.done)
        assert following.result() is ChannelEnd.GONE


async def test_a_channel_that_is_not_there_ends_at_once() -> None:
    async with rig.node(plain_http=True) as node, rig.client_of(rig.settings_for(node)) as client:
        heard: list[SessionEvent] = []
        end = await _collect(client, heard, f"{node.service_url}/ai/trickle/{CHANNEL}")
        assert (heard, end) == ([], ChannelEnd.GONE)


Script = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def _scripted(answer: Script) -> AsyncIterator[NodeClient]:
    """A trickle server that does what the double never does."""
    app = web.Application()
    app.router.add_get("/ai/trickle/{channel}/{seq}", answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    settings = OrchestratorSettings.model_validate({"service_url": f"http://{host}:{port}"})
    try:
        async with rig.client_of(settings) as client:
            yield client
    finally:
        await runner.cleanup()


async def test_what_was_missed_is_skipped_and_failures_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_channel, "RETRY_MIN_S", 0.01)
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.match_info["seq"])
        match len(asked), asked[-1]:
            case 1, "-1":
                return web.Response(body=_message("reserved", "a"), headers={"Lp-Trickle-Seq": "3"})
            case 2, "4":
                return web.Response(status=500)
            case 3, "4":
                return web.Response(status=470, headers={"Lp-Trickle-Latest": "9"})
            case 4, "9":
                return web.Response(body=_message("released", "a"), headers={"Lp-Trickle-Seq": "9"})
            case 5, "10":
                return web.Response(body=b"x" * (event_channel.SEGMENT_BYTES + 1), headers={"Lp-Trickle-Seq": "10"})
        return web.Response(headers={"Lp-Trickle-Closed": "terminated", "Lp-Trickle-Seq": "11"})

    async with _scripted(answer) as client:
        heard: list[SessionEvent] = []
        await _collect(client, heard, f"http://node/ai/trickle/{CHANNEL}")
    assert heard == [SessionEvent("a", begins=True), SessionEvent("a", begins=False)]
    assert asked == ["-1", "4", "4", "9", "10", "11"]


async def test_a_channel_that_fell_silent_is_left_and_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_channel, "SILENCE_S", 0.2)
    asked: list[str] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(request.match_info["seq"])
        if len(asked) == 1:
            return web.Response(body=b'{"keep":"alive"}', headers={"Lp-Trickle-Seq": "7"})
        await asyncio.Event().wait()
        raise AssertionError

    async with _scripted(answer) as client:
        assert await _collect(client, [], f"http://node/ai/trickle/{CHANNEL}") is ChannelEnd.SILENT
    assert asked == ["-1", "8"]


async def test_a_channel_that_fails_for_long_is_left_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_channel, "RETRY_MIN_S", 0.01)
    monkeypatch.setattr(event_channel, "SILENCE_S", 0.2)

    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=500)

    async with _scripted(answer) as client:
        assert await _collect(client, [], f"http://node/ai/trickle/{CHANNEL}") is ChannelEnd.SILENT
