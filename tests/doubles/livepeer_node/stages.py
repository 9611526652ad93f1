"""What the recorded files need beside their own steps: the node's settings, its past, what went on between requests."""

from __future__ import annotations

import json

from tests.doubles.livepeer_node import stages_limits, stages_o2r, stages_static, stages_streams
from tests.doubles.livepeer_node.replay import Replay, Stage
from tests.doubles.livepeer_node.settings import NodeSettings
from tests.doubles.livepeer_node.staging import get, learn_token, register, working
from tests.doubles.shared.recordings import Step, eventually, expect, load

# node-callbacks.json


async def token_of_callbacks(replay: Replay) -> None:
    learn_token(replay, "<secret-2>")


async def six_segments(replay: Replay) -> None:
    channel = replay.known["<channel-2>"]
    for number in range(1, 7):
        answer = await replay.send(
            "service", "POST", f"/ai/trickle/channel_{channel}-in/{number}", {}, b"seg%d" % number
        )
        expect(answer.status, 200, "publishing")


async def proxies_until_refused(replay: Replay, step: Step) -> None:
    session = replay.known["<session-1>"]
    headers = {"Livepeer-Session-Token": replay.known["<secret-2>"]}
    made = 2  # by the steps before
    while True:
        answer = await replay.send("service", "POST", f"/runner/orchd-two/session/{session}/proxy", headers, b"{}")
        if answer.status != 200:
            break
        made += 1
    expect(f"number {made + 1} is refused" in step["step"], True, f"{made} made")
    replay.same(step["response"], answer)


# node-discovery.json


async def one_job(replay: Replay) -> None:
    replay.running = [await working(replay, "/apps/orchd-one/app/sleep5")]


async def job_done(replay: Replay) -> None:
    await replay.clock.advance(5)
    expect([(await job).status for job in replay.running], [200], "the job")


# node-expiry.json


async def four_long_jobs(replay: Replay) -> None:
    """The recorded sweep came 32.0 s after a heartbeat that came 30.1 s after the first."""
    await replay.clock.advance(2.9)
    replay.secrets["long"] = await register(replay, "long", mode="single-shot", capacity=20)
    replay.running = [await working(replay, "/apps/long/app/sleep100") for _ in range(4)]


async def long_is_alive(replay: Replay) -> None:
    """Its heartbeats are not in the recording; and who ended the first session isn't either."""
    await register(replay, "long", secret=replay.secrets["long"], mode="single-shot", capacity=20)
    runner = replay.live.registry.known("orchd-exp")
    assert runner is not None
    replay.live.registry.end_all(runner)


async def open_stream(replay: Replay, step: Step) -> None:
    """An SSE answer of the session that was reserved last; the sweep ends both."""
    session = replay.known["<session-2>"]
    stream = await replay.connect()
    stream.write(
        f"POST /apps/orchd-exp/session/{session}/app/endless HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n".encode()
    )
    await stream.until("data: ")
    replay.streams = [stream]
    runner = replay.live.registry.known("orchd-exp")
    assert runner is not None
    seen_at, seconds = runner.seen_at, step["seconds_after_heartbeat"]
    await replay.clock.advance(seen_at + seconds - 0.2 - replay.clock.now())
    expect(list(runner.sessions), [session], "kept until the sweep")
    await replay.clock.advance(0.2)
    expect(list(runner.sessions), [], "gone with the sweep")


async def stream_ended(replay: Replay, _step: Step) -> None:
    expect((await replay.streams[0].rest()).endswith("0\r\n\r\n"), False, "a last chunk")


# node-grants.json


async def grants_at_start(replay: Replay, step: Step) -> None:
    """Start another node with the grants in the step's label, and do a job by each address."""
    given = json.loads(step["step"].partition("= ")[2].rpartition(" (")[0])
    own = f":{replay.worker.port}"
    settings = NodeSettings(runner_grants=tuple(text.replace(":9901", own) for text in given))
    await replay.starts(step, settings)
    if not step.get("starts"):
        return
    await replay.restarted(runner_grants=given)
    for name, status in step.items():
        if name.startswith("job_via_"):
            url = name.removeprefix("job_via_")
            await register(replay, "g2", mode="single-shot", runner_url=url)
            answer = await replay.exchange("service", "POST", "/apps/g2/app/x", {}, b"{}")
            expect(answer.status, status, name)
            await replay.restarted()


# node-heartbeat.json


async def everything_at_once(replay: Replay, step: Step) -> None:
    """The recorded body is cut; what was said stands in the listing that follows."""
    steps = load("node-heartbeat.json")
    listed = next(one for one in steps if one["step"] == "discovery after the change")["response"]["body"]
    changed = next(one for one in json.loads(listed)[0]["runners"] if one["app"] == "echo/changed")
    before_the_cut = json.loads(step["request"]["body"].partition(', "metadata"')[0] + "}")
    said = before_the_cut | {"metadata": changed["metadata"], "gpu": changed["gpu"]}
    await replay.request({**step, "request": {**step["request"], "body": json.dumps(said)}})


async def without_a_body(replay: Replay, step: Step) -> None:
    await _raw_heartbeat(replay, step, "Content-Length: 1000000\r\n\r\n")


async def body_that_stops(replay: Replay, step: Step) -> None:
    await _raw_heartbeat(replay, step, "Authorization: s3cret\r\nContent-Length: 100\r\n\r\n{")


async def _raw_heartbeat(replay: Replay, step: Step, rest: str) -> None:
    connection = await replay.connect()
    connection.write(f"POST /runners/heartbeat HTTP/1.1\r\nHost: a\r\n{rest}".encode())
    seconds = step["answer_after_seconds"]
    if seconds:
        await eventually(lambda: replay.node.places.taken["control"] == 1, "it waits for the body")
        await replay.clock.advance(seconds - 0.1)
        expect(connection.got, "", "answered early")
        await replay.clock.advance(0.1)
    replay.match(sorted_lines(step["answer"]), sorted_lines(await connection.rest()))


def sorted_lines(answer: str) -> str:
    head, _, body = answer.partition("\r\n\r\n")
    return "\r\n".join(sorted(head.split("\r\n"))) + body


# node-secrets.json


async def trailing_newline(replay: Replay, step: Step) -> None:
    await replay.restarted(bootstrap_secret=step["file"].replace("\\n", "\n").encode())


async def trailing_blank(replay: Replay) -> None:
    await replay.restarted(bootstrap_secret=b"s3cret ")


async def sent_with_blank(replay: Replay, step: Step) -> None:
    sent = "POST /runners/heartbeat HTTP/1.1\r\nHost: a\r\nAuthorization: s3cret \r\nContent-Length: 2\r\n\r\n{}"
    await replay.raw(sent, step["answer"])


async def blank_inside(replay: Replay) -> None:
    await replay.restarted(bootstrap_secret=b"two words")


async def plain_secret(replay: Replay) -> None:
    await replay.restarted(bootstrap_secret=b"s3cret")


async def no_secret(replay: Replay, step: Step) -> None:
    await replay.starts(step, NodeSettings(bootstrap_secret=None))


async def empty_secret(replay: Replay, step: Step) -> None:
    await replay.starts(step, NodeSettings(bootstrap_secret=b""))


async def static_alone(replay: Replay) -> None:
    file = replay.folder / "static.toml"
    file.write_text('[[Runners]]\nID="a"\nRunnerURL="http://127.0.0.1:1"\nApp="x"\n')
    await replay.restarted(bootstrap_secret=None, runner_config=file)


# node-single-shot.json


async def one_single_shot(replay: Replay) -> None:
    replay.known["<secret-31>"] = await register(replay, "orchd-one", mode="single-shot", capacity=2)


async def three_at_once(replay: Replay, step: Step) -> None:
    jobs = [await working(replay, "/apps/orchd-one/app/sleep1") for _ in range(2)]
    refused = await replay.send("service", "POST", "/apps/orchd-one/app/sleep1", {}, b"{}")
    expect((await get(replay, "/discovery")).text, step["discovery_meanwhile"].replace(":8935", ":18935"), "discovery")
    expect((await get(replay, "/metrics", "metrics")).text, step["metrics_meanwhile"], "metrics")
    await replay.clock.advance(1)
    answers = [refused, *[await job for job in jobs]]
    found = sorted((answer.status, answer.text) for answer in answers)
    expect(found, sorted((one["status"], one["body"]) for one in step["answers"]), "answers")
    expect(replay.worker.take()[1], step["peak_concurrency_at_worker"], "most at once")


async def caller_leaves(replay: Replay, _step: Step) -> None:
    job = await working(replay, "/apps/orchd-one/app/sleep5")
    runner = replay.live.registry.known("orchd-one")
    assert runner is not None
    expect(runner.free, 1, "free slots")
    job.cancel()
    await eventually(lambda: runner.free == 2, "the slot is free at once")
    await replay.clock.advance(5)
    replay.worker.take()


STAGES: dict[str, Stage] = {
    "node-callbacks.json": Stage(
        settings={"runner_grants": ["127.0.0.1:9901"], "session_proxy_grants": ["127.0.0.1:9902"]},
        before={
            "channels": token_of_callbacks,
            "trickle: segments 1 to 6 published; read 1 (overwritten: 5 are kept)": six_segments,
        },
        instead={"proxies made until refused: number 26 is refused": proxies_until_refused},
    ),
    "node-discovery.json": Stage(
        before={"one of two slots of orchd-one busy": one_job, "stop the session": job_done},
    ),
    "node-expiry.json": Stage(
        prepare=four_long_jobs,
        before={"reserve past the TTL": long_is_alive},
        instead={"session released": open_stream, "the open SSE answer of that session ended": stream_ended},
    ),
    "node-grants.json": Stage(
        settings={"runner_grants": ["127.0.0.1:9901"]},
        instead={step["step"]: grants_at_start for step in load("node-grants.json") if "RunnerGrants" in step["step"]},
    ),
    "node-heartbeat.json": Stage(
        instead={
            "changed: mode, capacity, status, price, url, everything at once": everything_at_once,
            "401 before the body: header with Content-Length 1000000 sent, no body": without_a_body,
            "heartbeat body that stops after one byte": body_that_stops,
        }
    ),
    "node-secrets.json": Stage(
        before={
            "secret file ends in a blank; sent without": trailing_blank,
            "secret with a blank inside": blank_inside,
            "secret from the environment": plain_secret,
            "node with static runners and no secret: heartbeat": static_alone,
        },
        instead={
            "node started with a secret file that ends in a newline": trailing_newline,
            "sent with the blank (HTTP strips it)": sent_with_blank,
            "start without a secret and without static runners": no_secret,
            "start with an empty secret file": empty_secret,
        },
    ),
    "node-single-shot.json": Stage(
        prepare=one_single_shot,
        instead={
            "3 jobs at once against capacity 2": three_at_once,
            "caller closes its connection 0.5 s into a job of 5 s": caller_leaves,
        },
    ),
    **stages_static.STAGES,
    **stages_limits.STAGES,
    **stages_o2r.STAGES,
    **stages_streams.STAGES,
}
