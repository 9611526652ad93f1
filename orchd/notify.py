"""EDGE. What systemd is told: ready, stopping, a status line, and that the event loop still turns.

Source: sd_notify(3), sd_watchdog_enabled(3). Without `$NOTIFY_SOCKET` nothing is sent.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Protocol

import structlog

from orchd.domain.snapshots import SnapshotSource
from orchd.part import Context, Part, Roots
from orchd.reasons import why
from orchd.status_view import summary

log = structlog.get_logger("orchd.notify")

STATUS_PERIOD_S = 1.0
"""Shortest time between two lines for `systemctl status`."""


class Notifier:
    """Sends messages to the socket that `env` names. One that can't be sent is logged; nothing is raised."""

    def __init__(self, env: Mapping[str, str]) -> None:
        name = env.get("NOTIFY_SOCKET", "")
        self._address = f"\0{name[1:]}" if name.startswith("@") else name

    @property
    def heard(self) -> bool:
        """Whether systemd listens; if not, there is no need to make a status line."""
        return bool(self._address)

    def ready(self) -> None:
        """Say that the listeners are open. Models may still load."""
        self._send("READY=1")

    def stopping(self) -> None:
        """Say that orchd ends."""
        self._send("STOPPING=1")

    def status(self, text: str) -> None:
        """Set the line that `systemctl status` shows."""
        self._send(f"STATUS={' '.join(text.split())}")

    async def watchdog(self, period_s: float) -> None:
        """Say every `period_s` seconds that orchd lives, until cancelled: an event loop that hangs stops saying so."""
        while True:
            self._send("WATCHDOG=1")
            await asyncio.sleep(period_s)

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
                sock.setblocking(False)
                sock.sendto(message.encode(), self._address)
        except OSError as exc:
            log.warning("notify_failed", message=message.partition("=")[0], error=why(exc))


def watchdog_period_s(env: Mapping[str, str]) -> float | None:
    """Return how often systemd wants to hear from orchd: half its timeout, in seconds; None = never."""
    usec = env.get("WATCHDOG_USEC", "")
    if not usec.isdecimal() or int(usec) == 0:
        return None
    if env.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None  # It is meant for another process, whose environment we inherited.
    return int(usec) / 2 / 1_000_000


class SnapshotHolder(Protocol):
    """As `reconcile.ports.Reconciler`."""

    @property
    def snapshots(self) -> SnapshotSource: ...


class NotifyPart(Part):
    """Tells systemd how orchd is, where systemd has started it.

    Args:
        stopping: returns whether the daemon has been asked to end.
    """

    name = "systemd"

    def __init__(self, context: Context, reconcile: SnapshotHolder, stopping: Callable[[], bool]) -> None:
        self.notifier = Notifier(context.env)
        self._watchdog_s = watchdog_period_s(context.env)
        self._reconcile = reconcile
        self._stopping = stopping

    def roots(self) -> Roots:
        roots: dict[str, Coroutine[Any, Any, object]] = {}
        if self.notifier.heard:
            roots["status line"] = self._tell_status()
        if self._watchdog_s is not None:
            roots["watchdog"] = self.notifier.watchdog(self._watchdog_s)
        return roots

    async def _tell_status(self) -> None:
        """Keep the line that `systemctl status` shows up to date."""
        snapshots, told = self._reconcile.snapshots, ""
        shown: tuple[object, ...] = ()
        await snapshots.turned(0)
        while True:
            turn = snapshots.turn
            snapshot = await snapshots.fresh()
            if (snapshot.version, snapshot.file_hash) != shown:
                shown = snapshot.version, snapshot.file_hash
                if (line := summary(snapshot)) != told and not self._stopping():
                    self.notifier.status(line)
                    told = line
            await asyncio.sleep(STATUS_PERIOD_S)  # The line is made of all models: not at each turn.
            await snapshots.turned(turn)
