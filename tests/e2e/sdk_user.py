"""The official SDK's user (`sdk_client.py`) as a process that a test drives."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from orchd.tasks import cancel, spawn
from tests.e2e.daemon import PATIENCE_S, ROOT
from tests.e2e.environments import SDK
from tests.e2e.realtime import Colour, inverted, near

CLIENT = ROOT / "tests" / "e2e" / "sdk_client.py"


class SdkUser:
    """The SDK's user, as a process.

    Attributes:
        told: how it introduces itself: session, manifest, app_url, channels.
        frames: mean colours of what came back, oldest first.
        events: types of what the events channel said, each with the reason that the newest gave.
        done: what it was told and has done.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.told: dict[str, Any] = {}
        self.frames: list[Colour] = []
        self.events: dict[str, str | None] = {}
        self.done: list[str] = []
        self.failed = ""
        self._news = asyncio.Event()

    async def listen(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            said = json.loads(line)
            if "failed" in said:
                self.failed = said["failed"]
            elif "frame" in said:
                self.frames.append(tuple(said["frame"]))
            elif "event" in said:
                self.events[said["event"]] = said["why"]
            elif "done" in said:
                self.done.append(said["done"])
            else:
                self.told = said
            self._news.set()

    async def until(self, what: str, condition: Callable[[], object]) -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not condition():
                    assert not self.failed, self.failed
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise AssertionError(f"never came true: {what}; {self.told}, {self.frames[-3:]}, {self.events}") from None

    async def shows(self, colour: Colour) -> None:
        """Wait until a frame comes back from now on that has this colour."""
        before = len(self.frames)
        seen = lambda: any(near(list(frame), colour) for frame in self.frames[before:])  # noqa: E731
        await self.until(f"{colour} comes back", seen)

    async def do(self, order: str) -> None:
        """Have it done, and wait until it is."""
        assert self.process.stdin is not None
        before = len(self.done)
        self.process.stdin.write(f"{order}\n".encode())
        await self.until(f"{order} is done", lambda: len(self.done) > before)


@asynccontextmanager
async def sdk_user(url: str, app: str, colour: Colour, signer: str = "") -> AsyncIterator[SdkUser]:
    """Start one at this orchestrator, and wait until its video of one colour has come back inverted.

    Args:
        signer: URL of the signer that pays; empty = nothing is paid.
    """
    process = await asyncio.create_subprocess_exec(
        *(str(SDK.python), str(CLIENT), url, app, ",".join(map(str, colour)), *filter(None, [signer])),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    user = SdkUser(process)
    listening = spawn(user.listen(), name="listen to the client")
    try:
        await user.shows(inverted(colour))
        yield user
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await cancel(listening)
