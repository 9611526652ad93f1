"""Gets images onto the engine: pulled by the entry's policy, watched for progress, given up when it stalls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Literal

import structlog

from orchd.errors import Code, LaunchError
from orchd.runtime.docker.client import Refused
from orchd.runtime.docker.credentials import credentials_for
from orchd.runtime.docker.engine import PULLS, Engine
from orchd.runtime.docker.pulls import PullProgress, pull_error

log = structlog.get_logger("orchd.runtime")

_TELL_EVERY_S = 1.0
_LOG_EVERY_S = 10.0


class Images:
    """Pulls images, a few at a time.

    Attributes:
        stall_s: a pull that makes no progress for this many seconds is given up.
    """

    def __init__(self, engine: Engine, stall_s: float) -> None:
        self._engine = engine
        self._stall_s = stall_s
        self._turns = asyncio.Semaphore(PULLS)

    async def provide(
        self, image: str, policy: Literal["missing", "always", "never"], progress: Callable[[str], None]
    ) -> None:
        """Make sure that the engine holds `image`.

        Raises:
            LaunchError: why it can't be had.
            EngineUnavailable.
        """
        if policy != "always" and await self._has(image):
            return
        if policy == "never":
            raise LaunchError(
                f"cannot use {image}: it is not on this machine and the entry says `pull`: never; "
                f"docker pull {image}, or change `pull`",
                code=Code.IMAGE_UNAVAILABLE,
            )
        if self._turns.locked():
            progress(f"waiting to pull {image}")
        async with self._turns:
            began = time.monotonic()
            await self._pull(image, progress)
            log.info("image_pulled", image=image, pull_s=round(time.monotonic() - began, 1))

    async def _has(self, image: str) -> bool:
        try:
            return await self._engine.has_image(image)
        except Refused as refused:
            raise pull_error(image, refused.reason) from refused

    async def _pull(self, image: str, progress: Callable[[str], None]) -> None:
        loop = asyncio.get_running_loop()
        tracker = PullProgress(image)
        errors: list[str] = []
        told_at = logged_at = float("-inf")

        def take(message: dict[str, Any]) -> None:  # on the pulling thread
            nonlocal told_at
            if "error" in message:
                errors.append(str(message["error"]))
            tracker.take(message)
            if time.monotonic() - told_at >= _TELL_EVERY_S:
                told_at = time.monotonic()
                loop.call_soon_threadsafe(tell, tracker.line())

        def tell(line: str) -> None:
            nonlocal logged_at
            if over:
                return
            deadline.reschedule(loop.time() + self._stall_s)
            progress(line)
            if loop.time() - logged_at >= _LOG_EVERY_S:
                logged_at = loop.time()
                log.info("image_pulling", image=image, progress=line)

        over = False
        credentials = await credentials_for(image)
        try:
            async with asyncio.timeout(self._stall_s) as deadline:
                await self._engine.pull(image, take, credentials.auth)
        except TimeoutError as exc:
            raise LaunchError(
                f"cannot pull {image}: no progress for {self._stall_s:g} s; is its registry reachable?",
                code=Code.REGISTRY_UNAVAILABLE,
            ) from exc
        except Refused as refused:
            errors.append(refused.reason)
        finally:
            over = True
        if errors:
            raise pull_error(image, errors[-1], credentials.trouble)
