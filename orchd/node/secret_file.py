"""The file with the node's secret: read again while orchd runs, so that a mended file needs no restart."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from orchd.errors import OrchdError
from orchd.node.ports import SecretFileSeen
from orchd.settings.secrets import SecretInUse, SecretText, read_secret_text
from orchd.threads import DaemonThreads

log = structlog.get_logger("orchd.node")

SETTING = "orchestrator.secret_file"
LOOK_S = 2.0
"""How often, in seconds, the file is read again."""
READ_TIMEOUT_S = 5.0
"""Timeout in seconds of a read: the file may lie on a mount that hangs."""


class SecretFile:
    """Keeps what is used of the file the same as what is in it. Make it inside a running loop.

    Args:
        text: what the file held when it was read at start; None = no file is named.
        in_use: is given the secret when the file has changed.
        look_s: seconds between two reads.
    """

    def __init__(
        self, path: str, env: Mapping[str, str], text: SecretText | None, in_use: SecretInUse, look_s: float = LOOK_S
    ) -> None:
        self.seen = SecretFileSeen(path, text.around if text else "", self.look)
        self._env = env
        self._text = text
        self._in_use = in_use
        self._look_s = look_s
        self._refused = ""
        self._threads = DaemonThreads("secret file")

    async def run(self) -> None:
        """Read the file again and again until cancelled."""
        while True:
            await asyncio.sleep(self._look_s)
            await self.look()

    async def look(self) -> None:
        """Read the file. What can't be read or used is logged once, and changes nothing."""
        if not self.seen.path:
            return
        try:
            text = await self._threads.run(lambda: read_secret_text(SETTING, self.seen.path, self._env), READ_TIMEOUT_S)
        except OrchdError as exc:
            self._complain(exc.message)
            return
        except TimeoutError:
            self._complain(f"cannot read {self.seen.path} within {READ_TIMEOUT_S:g} s")
            return
        self._refused = ""
        if text == self._text or text is None:
            return
        former, self._text = self._text, text
        self.seen.around = text.around
        if former is None or former.secret != text.secret:
            self._in_use.use(text.secret)
            self._in_use.now = text.secret
            log.info("secret_changed", setting=SETTING)

    def _complain(self, reason: str) -> None:
        if reason != self._refused:
            self._refused = reason
            log.warning("secret_refused", setting=SETTING, reason=reason)

    def close(self) -> None:
        self._threads.close()
