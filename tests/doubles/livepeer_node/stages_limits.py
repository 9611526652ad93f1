"""What node-limits.json and node-restart.json need: a crowded node, and one that goes and comes back."""

from __future__ import annotations

import asyncio
import json
import re

from orchd.tasks import cancel
from tests.doubles.livepeer_node.kit import SECRET
from tests.doubles.livepeer_node.node import Node
from tests.doubles.livepeer_node.places import CONTROL, MOST, STREAM
from tests.doubles.livepeer_node.registry import MAX_SESSIONS
from tests.doubles.livepeer_node.replay import OURS, Replay, Stage
from tests.doubles.livepeer_node.settings import BadStart
from tests.doubles.livepeer_node.staging import TOKEN, get, learn_token, register, reserve, working
from tests.doubles.shared.caller import Answer
from tests.doubles.shared.recordings import Differs, Step, eventually, expect

# node-limits.json


async def runners_until_refused(replay: Replay, step: Step) -> None:
    number = 1
    while True:
        said = {"runner_id": f"r{number}", "runner_url": "http://127.0.0.1:9901", "app": "a", "mode": "single-shot"}
        body = replay.ours(json.dumps(said)).encode()
        answer = await replay.send("service", "POST", "/runners/heartbeat", SECRET, body)
        if answer.status != 200:
            break
        number += 1
    expect(f": {number} are in" in step["step"], True, f"{number} registered")
    replay.same(step["response"], answer)


async def all_listed(replay: Replay, step: Step) -> None:
    listed = json.loads((await get(replay, "/discovery")).text)[0]["runners"]
    expect(len(listed), step["runners"], "listed")


async def fresh(replay: Replay) -> None:
    await replay.restarted()


async def sessions_reserved(replay: Replay, step: Step) -> None:
    """The recorder reserved them by requests; here the registry is asked, which does it in the same way."""
    match = re.match(r"([\d,]+) sessions", step["step"])
    assert match is not None
    number = int(match[1].replace(",", ""))
    expect(number, MAX_SESSIONS - 1, "the limit")
    for _ in range(number):
        replay.live.registry.reserve("big", persistent=True)
    await register(replay, "small", capacity=10)
    await register(replay, "single", mode="single-shot")


async def their_ids(replay: Replay, step: Step) -> None:
    entry = {"runner_id": "big", "runner_url": "http://127.0.0.1:9901", "app": "echo/one", "capacity": 10000}
    bearer = {"Authorization": replay.known["<secret-2>"]}
    answer = await replay.send("service", "POST", "/runners/heartbeat", bearer, json.dumps(entry).encode())
    found = (answer.status, len(json.loads(answer.text)["session_ids"]), answer.header("Transfer-Encoding"))
    expect(found, (step["status"], step["session_ids"], "chunked"), "the answer")
    # The node's own port had a digit more.
    expect(len(answer.body), step["bytes"] + answer.text.count(OURS) - 1, "its bytes")


async def unregistered(replay: Replay, step: Step) -> None:
    bearer = {"Authorization": replay.known["<secret-2>"]}
    replay.same(step["response"], await replay.send("service", "POST", "/runners/big/unregister", bearer))


async def channels_until_refused(replay: Replay, step: Step) -> None:
    """25 at a time on a fresh node, then one at a time."""
    at_once = 25 if "25 at a time" in step["step"] else 1
    if at_once == 25:
        await replay.restarted()
        replay.known["<secret-5>"] = await register(replay, "p", capacity=5)
        replay.known["<session-2>"] = await reserve(replay, "p")
    session = replay.known["<session-2>"]
    headers = await token_headers(replay, "p", session)
    runner = replay.live.registry.known("p")
    assert runner is not None
    made = len(runner.sessions[session].channels)
    while (answer := await make_channels(replay, session, headers, made, at_once)).status == 200:
        made += at_once
    expect(f": {made} made" in step["step"].replace("refused", ""), True, f"{made} made")
    replay.same(step["response"], answer)


async def token_headers(replay: Replay, runner_id: str, session: str) -> dict[str, str]:
    await replay.exchange("service", "POST", f"/apps/{runner_id}/session/{session}/app/x", {}, b"{}")
    learn_token(replay, "token")
    return {TOKEN: replay.known["token"]}


async def make_channels(replay: Replay, session: str, headers: dict[str, str], first: int, many: int) -> Answer:
    body = json.dumps({"channels": [{"name": f"n{number}"} for number in range(first, first + many)]})
    return await replay.send("service", "POST", f"/runner/p/session/{session}/channels", headers, body.encode())


async def another_session(replay: Replay) -> None:
    replay.known["<session-3>"] = await reserve(replay, "p")
    headers = await token_headers(replay, "p", replay.known["<session-3>"])
    replay.known["<secret-4>"] = headers[TOKEN]


async def waiting_reads(replay: Replay) -> None:
    """A single-shot runner on a fresh node, and as many reads of its event channel as the node has places."""
    await replay.restarted()
    replay.known["<secret-5>"] = await register(replay, "p", mode="single-shot", capacity=400)
    channel = replay.live.events["p"].name
    replay.known["<channel-4>"] = channel.split("-")[1]
    replay.running = [
        asyncio.get_running_loop().create_task(replay.send("service", "GET", f"/ai/trickle/{channel}/0", {}))
        for _ in range(MOST[STREAM])
    ]
    await eventually(lambda: replay.node.places.taken[STREAM] == MOST[STREAM], "all places are taken")


async def one_reader_leaves(replay: Replay) -> None:
    await cancel(replay.running.pop())
    await eventually(lambda: replay.node.connections == len(replay.running), "the node has noticed")


async def all_readers_leave(replay: Replay, _step: Step) -> None:
    """The places come back with the keep-alive, which comes 10 s after the start at the latest."""
    await cancel(*replay.running)
    await eventually(lambda: replay.node.connections == 0, "the node has noticed")
    expect(replay.node.places.taken[STREAM], MOST[STREAM], "places taken")
    await replay.clock.advance(10)
    expect(replay.node.places.taken[STREAM], 0, "places taken")
    answer = await replay.exchange("service", "POST", "/apps/p/app/x", {}, b"{}")
    expect(answer.status, 200, "a job")


async def stalled_heartbeats(replay: Replay) -> None:
    for _ in range(MOST[CONTROL]):
        connection = await replay.connect()
        head = "POST /runners/heartbeat HTTP/1.1\r\nHost: a\r\nAuthorization: s3cret\r\nContent-Length: 9\r\n\r\n{"
        connection.write(head.encode())
        replay.streams.append(connection)
    await eventually(lambda: replay.node.places.taken[CONTROL] == MOST[CONTROL], "all places are taken")


async def control_free_again(replay: Replay, step: Step) -> None:
    await replay.clock.advance(step["seconds"] - 0.1)
    expect(replay.node.places.taken[CONTROL], MOST[CONTROL], "places taken")
    await replay.clock.advance(0.1)
    await eventually(lambda: replay.node.places.taken[CONTROL] == 0, "the places are free")
    for connection in replay.streams:
        connection.close()


async def many_headers(replay: Replay, step: Step) -> None:
    match = re.match(r"(\d+) header values", step["step"])
    assert match is not None
    await with_header(replay, step, "".join(f"X-{number}: 1\r\n" for number in range(int(match[1]) - 2)))


async def long_header(replay: Replay, step: Step) -> None:
    size = 900 << 10 if "900 KiB" in step["step"] else int(1.2 * (1 << 20))
    await with_header(replay, step, f"X-Long: {'x' * size}\r\n")


async def with_header(replay: Replay, step: Step, header: str) -> None:
    sent = f"GET /discovery HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{header}\r\n"
    await replay.raw(sent, step["answer"])


# node-restart.json


async def killed(replay: Replay, step: Step) -> None:
    learn_token(replay, "<secret-3>")
    job = await working(replay, "/apps/orchd-one/app/sleep5")
    channel = replay.live.events["orchd-two"].name
    read = asyncio.get_running_loop().create_task(replay.send("service", "GET", f"/ai/trickle/{channel}/1", {}))
    await eventually(lambda: replay.node.places.taken[STREAM] == 2, "both are under way")
    await replay.node.kill()
    replay.same(step["job"], await job)
    replay.same(step["o2r_read"], await read)


async def down(replay: Replay, step: Step) -> None:
    request = step["request"]
    headers = {name: replay.ours(value) for name, value in request["headers"].items()}
    try:
        answer = await replay.send("service", request["method"], request["target"], headers, request["body"].encode())
    except ConnectionRefusedError:
        return
    raise Differs(f"answered {answer.status}")


async def started(replay: Replay, _step: Step) -> None:
    await replay.node.start()
    expect((await get(replay, "/discovery")).status, 200, "discovery")


async def terminated(replay: Replay, step: Step) -> None:
    job = await working(replay, "/apps/orchd-one/app/sleep5")
    await replay.node.stop()
    replay.set(bootstrap_secret=b"other")
    await replay.node.start()
    replay.same(step["job"], await job)


async def terminated_while_awaiting(replay: Replay, step: Step) -> None:
    """One heartbeat's body is still awaited; another connection is kept and idle."""
    kept = await replay.connect()
    kept.write(b"GET /discovery HTTP/1.1\r\nHost: a\r\n\r\n")
    await kept.until("]}]\n")
    awaited = await replay.connect()
    awaited.write(b"POST /runners/heartbeat HTTP/1.1\r\nHost: a\r\nAuthorization: other\r\nContent-Length: 9\r\n\r\n{")
    await eventually(lambda: replay.node.places.taken[CONTROL] == 1, "its body is awaited")
    replay.streams = [kept, awaited]
    replay.stopping = asyncio.get_running_loop().create_task(replay.node.stop())
    await eventually(lambda: replay.node.closing, "it stops")
    try:
        await replay.connect()
    except ConnectionRefusedError:
        return
    raise Differs(f"a new connection was taken: {step['response']}")


async def kept_connection(replay: Replay, _step: Step) -> None:
    expect((await replay.streams[0].rest()).count("HTTP/1.1"), 1, "answers on the kept connection")


async def ended(replay: Replay, step: Step) -> None:
    """The body's 5 s are what the process waited for."""
    assert replay.stopping is not None
    expect(replay.stopping.done(), False, "ended at once")
    expect(step["seconds_after_SIGTERM"] >= 5, True, "the recording")
    await replay.clock.advance(5)
    await replay.stopping
    expect("400 Bad Request" in await replay.streams[1].rest(), True, "answered")


async def second_start(replay: Replay, step: Step) -> None:
    await replay.node.start()
    taken = replay.node.service_url.removeprefix("http://")
    replay.set(listen=taken)
    try:
        async with Node(replay.node.settings, replay.clock):
            raise Differs("it started")
    except BadStart as error:
        expect(str(error).replace(taken, "127.0.0.1:8935"), step["stderr"], "the refusal")


STAGES: dict[str, Stage] = {
    "node-limits.json": Stage(
        before={
            "fresh node: persistent runner, capacity 10000": fresh,
            "channels again": another_session,
            "256 waiting trickle reads, then a job": waiting_reads,
            "one of the readers closed its connection 0.3 s ago: job": one_reader_leaves,
            "64 heartbeats whose body stops, then discovery": stalled_heartbeats,
        },
        instead={
            "runners registered until refused: 256 are in, the next is refused": runners_until_refused,
            "discovery": all_listed,
            "9,999 sessions reserved one after another on one connection": sessions_reserved,
            "heartbeat of the runner with its sessions": their_ids,
            "unregister with 9,999 sessions": unregistered,
            "channels made 25 at a time until refused: 750 made (and 1 o2r channel exists)": channels_until_refused,
            "then one at a time: 767 made (and 1 o2r channel)": channels_until_refused,
            "all readers closed their connections: the places come free only with the next segment of the channel "
            "(here the keep-alive)": all_readers_leave,
            "control places free again": control_free_again,
            "128 header values, Host and Connection counted": many_headers,
            "129 header values, Host and Connection counted": many_headers,
            "header of 900 KiB": long_header,
            "header of 1.2 MiB": long_header,
        },
    ),
    "node-restart.json": Stage(
        instead={
            "kill -9 with a job and an o2r read under way": killed,
            "while it is down": down,
            "started again": started,
            "SIGTERM with a job under way": terminated,
            "SIGTERM while one heartbeat body is still awaited: new connection": terminated_while_awaiting,
            "same: kept connection": kept_connection,
            "process ended": ended,
            "second start on the same port": second_start,
        }
    ),
}
