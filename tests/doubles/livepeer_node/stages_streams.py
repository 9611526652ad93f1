"""What node-streams.json needs: WebSockets and SSE answers that are open while something ends them."""

from __future__ import annotations

import asyncio

from tests.doubles.livepeer_node.replay import RawConnection, Replay, Stage
from tests.doubles.livepeer_node.staging import learn_token, register, reserve, session_of, working
from tests.doubles.shared.recordings import Step, eventually, expect

_UPGRADE = (
    "Host: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
_LAST_CHUNK = "0\r\n\r\n"


async def two_runners(replay: Replay) -> None:
    await register(replay, "orchd-one", app="echo/one", mode="single-shot", capacity=3)
    replay.known["<secret-3>"] = await persistent(replay)


async def persistent(replay: Replay) -> str:
    return await register(replay, "orchd-two", app="echo/two", runner_url="http://127.0.0.1:9902", capacity=4)


async def raw(replay: Replay, request: str) -> RawConnection:
    connection = await replay.connect()
    connection.write(request.encode())
    replay.streams = [connection]
    return connection


def frame(text: str) -> bytes:
    """A text frame with a mask of zeros."""
    return bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text.encode()


# WebSockets.


async def upgrade(replay: Replay, path: str) -> RawConnection:
    connection = await raw(replay, f"GET {path} HTTP/1.1\r\n{_UPGRADE}")
    await connection.until("\r\n\r\n")
    return connection


async def single_shot_socket(replay: Replay, step: Step) -> None:
    connection = await upgrade(replay, "/apps/orchd-one/app/ws?x=1")
    head = connection.got.partition("\r\n\r\n")[0]
    expect(sorted(head.split("\r\n")), sorted(step["answer"].split("\r\n")), "the answer")
    connection.write(frame(step["sent"]))
    await connection.until(step["received"])


async def client_drops(replay: Replay, _step: Step) -> None:
    runner = replay.live.registry.known("orchd-one")
    assert runner is not None
    expect(runner.free, 2, "free slots")
    replay.streams[0].close()
    await eventually(lambda: runner.free == 3, "the slot is free")


async def refused_by_runner(replay: Replay, step: Step) -> None:
    head, _, body = step["answer"].partition(" | ")
    connection = await upgrade(replay, "/apps/orchd-one/app/ws/refuse")
    expect(connection.got.startswith(head + "\r\n\r\n" + body), True, connection.got)


async def upgrade_of_nobody(replay: Replay, step: Step) -> None:
    head, _, body = step["answer"].partition(" | ")
    connection = await upgrade(replay, "/apps/nobody/app/ws")
    found, _, text = (await connection.until(body)).partition("\r\n\r\n")
    expect((sorted(found.split("\r\n")), text), (sorted(head.split("\r\n")), body), "the answer")


async def socket_of_session(replay: Replay, name: str) -> None:
    session = replay.known[name] = await reserve(replay, "orchd-two")
    connection = await upgrade(replay, f"/apps/orchd-two/session/{session}/app/ws")
    connection.write(frame("one"))
    await connection.until("echo:one")


async def socket_for_client(replay: Replay) -> None:
    await socket_of_session(replay, "<session-2>")


async def socket_for_runner(replay: Replay) -> None:
    replay.second.take()
    await socket_of_session(replay, "<session-3>")
    learn_token_of_second(replay)


def learn_token_of_second(replay: Replay) -> None:
    replay.worker.take()
    learn_token(replay, "<secret-2>")


async def socket_ended(replay: Replay, step: Step) -> None:
    expect(step["then"], "EOF", "the recording")
    expect((await replay.streams[0].rest()).endswith("echo:one"), True, "the last frame")


# SSE answers.


async def three_events(replay: Replay, step: Step) -> None:
    await replay.raw("POST /apps/orchd-one/app/sse HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", step["answer"])


async def stream_of_session(replay: Replay, name: str) -> None:
    session = replay.known[name] = await reserve(replay, "orchd-two")
    connection = await replay.connect()
    await session_of(replay, connection, "orchd-two", session, "endless")
    replay.streams = [connection]


async def stream_for_client(replay: Replay) -> None:
    await stream_of_session(replay, "<session-4>")


async def stream_ended(replay: Replay, _step: Step) -> None:
    expect((await replay.streams[0].rest()).endswith(_LAST_CHUNK), False, "a last chunk")


async def waiting_request(replay: Replay) -> None:
    session = replay.known["<session-5>"] = await reserve(replay, "orchd-two")
    replay.running = [await working(replay, f"/apps/orchd-two/session/{session}/app/sleep5")]


async def waiting_answered(replay: Replay, step: Step) -> None:
    answer = await replay.running[0]
    head, _, body = step["answer"].partition("\r\n\r\n")
    pairs = [line.split(": ") for line in head.split("\r\n")[1:]]
    replay.same({"status": int(head.split(" ")[1]), "headers": pairs, "body": body}, answer)


async def stream_at_unregister(replay: Replay) -> None:
    await stream_of_session(replay, "unregistered")


async def stream_while_not_ready(replay: Replay) -> None:
    replay.known["<secret-4>"] = await persistent(replay)
    await stream_of_session(replay, "<session-6>")


async def still_open(replay: Replay, _step: Step) -> None:
    """It goes on: another event comes."""
    before = replay.streams[0].got.count("data: ")
    await replay.clock.advance(2)
    await replay.streams[0].until(f'"i": {before + 3}')


async def caller_leaves(replay: Replay, _step: Step) -> None:
    connection = await raw(replay, "POST /apps/orchd-one/app/endless HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
    await connection.until("data: ")
    replay.worker.ended.clear()
    connection.close()
    runner = replay.live.registry.known("orchd-one")
    assert runner is not None
    await eventually(lambda: runner.free == 3, "the slot is free")
    while not replay.worker.ended:
        await asyncio.sleep(0.005)
        await replay.clock.advance(0.05)
    expect(replay.worker.ended, ["/endless"], "the worker's connection is closed")


async def terminated(replay: Replay, step: Step) -> None:
    """An SSE answer, a WebSocket and a read of the event channel are open."""
    await persistent_again(replay)
    await stream_of_session(replay, "<session-7>")
    stream = replay.streams[0]
    channel = replay.live.events["orchd-two"].name
    head = replay.node.trickle.channels.get(channel)
    assert head is not None
    read = asyncio.get_running_loop().create_task(
        replay.send("service", "GET", f"/ai/trickle/{channel}/{head.head}", {})
    )
    socket = await upgrade(replay, "/apps/orchd-one/app/ws")
    await eventually(lambda: replay.node.places.taken["stream"] == 3, "all three are open")
    await replay.node.stop()
    expect((await stream.rest()).endswith(_LAST_CHUNK), False, "a last chunk")
    await socket.rest()
    replay.same(step["o2r_read"], await read)


async def persistent_again(replay: Replay) -> None:
    """Begin with an event channel that has had one session reserved, as the recorded one."""
    bearer = {"Authorization": replay.known["<secret-4>"]}
    answer = await replay.send("service", "POST", "/runners/orchd-two/unregister", bearer)
    expect(answer.status, 200, "unregistering")
    await persistent(replay)


STAGES: dict[str, Stage] = {
    "node-streams.json": Stage(
        prepare=two_runners,
        before={
            "client stops the session with an open WebSocket": socket_for_client,
            "runner stops the session with an open WebSocket": socket_for_runner,
            "client stops the session with an open SSE answer": stream_for_client,
            "client stops the session while a request waits for its header": waiting_request,
            "runner unregisters with an open SSE answer": stream_at_unregister,
            "heartbeat not ready with an open SSE answer": stream_while_not_ready,
        },
        instead={
            "WebSocket through a single-shot runner": single_shot_socket,
            "client drops the socket": client_drops,
            "runner refuses the upgrade with 403": refused_by_runner,
            "unknown runner, upgrade": upgrade_of_nobody,
            "the WebSocket": socket_ended,
            "SSE: three events 50 ms apart": three_events,
            "the SSE answer: ends without the last chunk": stream_ended,
            "the request": waiting_answered,
            "the SSE answer": stream_ended,
            "the SSE answer 2 s later": still_open,
            "caller leaves an endless SSE answer: the worker": caller_leaves,
            "SIGTERM with an open SSE answer, an open WebSocket and a waiting o2r read": terminated,
        },
    )
}
