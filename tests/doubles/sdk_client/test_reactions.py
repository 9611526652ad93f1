"""The client does what the official SDK did, on each of the 152 recorded answers."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.chaos.jumping import BIRTH, run_jumping
from tests.doubles.sdk_client import recordings
from tests.doubles.sdk_client.client import NoRunner, SdkClient, Session
from tests.doubles.sdk_client.front import Front
from tests.doubles.sdk_client.funding import SignerAccess
from tests.doubles.sdk_client.http import HttpError, RefreshRequired, SdkError, SkipCycle
from tests.doubles.sdk_client.recordings import NAME, Case
from tests.doubles.signer.kit import FUNDED, PAYER
from tests.doubles.signer.recordings import EXTRACTS
from tests.doubles.signer.rules import GO_LIVEPEER
from tests.doubles.signer.signer import RemoteSigner, SignerSettings
from tests.tickets.validation.recordings import ORIGINALS

ERRORS = {
    "LivepeerGatewayError": SdkError,
    "LivepeerHTTPError": HttpError,
    "NoRunnerAvailableError": NoRunner,
    "SignerRefreshRequired": RefreshRequired,
    "SkipPaymentCycle": SkipCycle,
}
SLACK_S = 1.0
"""How much later the recorded client sent a request, without a time-out: everything about it took real time."""
GIVE_UP_SLACK_S = 1.0
"""And for each time-out: aiohttp rounds its end up to a whole second of a clock that began somewhere."""


@dataclass
class Saw:
    """What the client's user saw."""

    raised: type[Exception] | None = None
    rejections: int | None = None
    funding_task_done: bool | None = None
    released: bool | None = None
    closed: type[Exception] | None = None
    data: dict[str, Any] | None = None
    lines: int | None = None
    stream_raised: bool = False

    @classmethod
    def recorded(cls, case: Case) -> Saw:
        saw = case.saw
        return cls(
            raised=_class(saw["raised"]) if "raised" in saw else None,
            rejections=len(saw["rejections"]) if "rejections" in saw else None,
            funding_task_done=saw.get("funding_task_done"),
            released=saw.get("released"),
            closed=_class(saw["aclose"]) if saw.get("aclose", "ok") != "ok" else None,
            data=saw.get("data"),
            lines=saw.get("lines"),
            stream_raised="stream_raised" in saw,
        )


@dataclass
class Played:
    """A case as our client went through it."""

    saw: Saw = field(default_factory=Saw)
    front: Front | None = None


def _class(said: str) -> type[Exception]:
    return ERRORS[said.partition(":")[0].rpartition(".")[2]]


async def play(case: Case) -> Played:
    played = Played()

    async def funds() -> Any:
        return FUNDED

    def now_ns() -> int:
        return int((BIRTH + asyncio.get_running_loop().time()) * 10**9)

    async with (
        RemoteSigner(SignerSettings(GO_LIVEPEER, PAYER), funds, now_ns=now_ns) as signer,
        Front(case, signer.url) as front,
    ):
        played.front = front
        client = SdkClient(SignerAccess(front.url))
        single = case.step.startswith("single-shot")
        try:
            await (job if single else session)(client, front, case, played.saw)
        except SdkError as error:
            played.saw.raised = type(error)
            if isinstance(error, NoRunner) and "rejections" in case.saw:
                played.saw.rejections = len(error.rejections)
    return played


async def session(client: SdkClient, front: Front, case: Case, saw: Saw) -> None:
    """Reserve, keep it as long as the recorded user did, close."""
    began = asyncio.get_running_loop().time()
    reserved: Session = await client.reserve(front.runners())
    until = case.exchanges[-1].t
    if case.exchanges[-1].kind != "stop":
        until += SLACK_S
    elif not any(each.gave_up_s for each in case.exchanges):
        until -= SLACK_S / 2  # Its cycles took longer than ours: at the last moment we would be one ahead.
    await asyncio.sleep(began + until - asyncio.get_running_loop().time())
    assert reserved.task is not None
    saw.funding_task_done, saw.released = reserved.task.done(), reserved.released
    try:
        await reserved.close()
    except SdkError as error:
        saw.closed = type(error)


async def job(client: SdkClient, front: Front, case: Case, saw: Saw) -> None:
    """Send one job, and read its answer to the end."""
    (runner,) = front.runners()
    timeout_s = 60.0 if "timeout 60 s" in case.step else 5.0
    done = await client.call(runner, {}, timeout_s, stream="stream=True" in case.step)
    if done.streamed is None:
        assert done.reply is not None
        saw.data = json.loads(done.reply.content)
        return
    assert done.streamed.stream is not None
    saw.lines = 0
    try:
        while await done.streamed.stream.line():
            saw.lines += 1
    except SdkError:
        saw.stream_raised = True
    saw.released = done.streamed.released
    await done.streamed.close()


@pytest.mark.parametrize("case", recordings.load(), ids=lambda case: case.step)
def test_the_client_does_as_the_sdk_did(case: Case) -> None:
    played = run_jumping(play(case))
    front = played.front
    assert front is not None
    assert front.unexpected == []
    sent = [(each.kind, each.second, each.status) for each in front.came]
    assert sent == [(each.kind, each.second, each.status) for each in case.exchanges]
    slack = SLACK_S
    for came, recorded in zip(front.came, case.exchanges, strict=True):
        assert abs(came.t - recorded.t) <= slack, came
        slack += GIVE_UP_SLACK_S if recorded.gave_up_s else 0
    assert played.saw == Saw.recorded(case)


def test_the_extract_is_that_of_the_recording_where_it_is_at_hand() -> None:
    kept = (EXTRACTS / NAME).read_text()
    assert json.loads(kept)
    if ORIGINALS.is_dir():
        assert kept == recordings.text(ORIGINALS / NAME)
