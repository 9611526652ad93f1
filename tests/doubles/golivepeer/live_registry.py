"""PURE. The runners that the node knows, their sessions, and who may use what. Times are seconds on the node's clock.

A session has no end of its own: it holds its slot until somebody stops it or its runner is lost.
Source: live-runner.md 2 to 5.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.doubles.golivepeer.live_entries import PERSISTENT, Entry, StaticEntry

HEARTBEAT_INTERVAL_S = 5.0
TTL_S = 20.0


class Refused(Exception):
    """The answer's status and text."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def _base32(data: bytes) -> str:
    return base64.b32encode(data).decode().rstrip("=").lower()


def random_id(length: int) -> str:
    return _base32(secrets.token_bytes(length))[:length]


@dataclass
class Session:
    session_id: str
    token: str
    proxies: dict[str, str] = field(default_factory=dict)
    """Proxy id to the URL that it leads to."""
    channels: dict[str, str] = field(default_factory=dict)
    """Name given by the runner to MIME type."""

    def channel_name(self, name: str) -> str:
        return f"{self.session_id}-{name}"


@dataclass
class Runner:
    runner_id: str
    entry: Entry
    static: StaticEntry | None = None
    ready: bool = True
    seen_at: float = 0.0
    """Last heartbeat; without meaning for a static runner."""
    priceable: bool = True
    """The price feed answered at the last registration."""
    sessions: dict[str, Session] = field(default_factory=dict)
    seed: bytes = field(default_factory=lambda: secrets.token_bytes(32))

    def secret(self, text: str) -> str:
        return _base32(hmac.digest(self.seed, text.encode(), "sha256"))

    @property
    def heartbeat_secret(self) -> str:
        return self.secret("heartbeat")

    @property
    def events_channel(self) -> str:
        return f"{self.runner_id}-{self.secret('trickle:o2r')[:16]}-o2r"

    @property
    def route(self) -> str:
        return self.static.label if self.static and self.static.by_label else self.runner_id

    @property
    def persistent(self) -> bool:
        return self.entry.mode == PERSISTENT

    @property
    def free(self) -> int:
        """Below 0 after the capacity was lowered under the sessions."""
        return self.entry.capacity - len(self.sessions)


class Registry:
    """`on_event` hears of every session that begins ("reserved") and ends ("released")."""

    def __init__(self, now: Callable[[], float], on_event: Callable[[Runner, str, Session], None]) -> None:
        self._now = now
        self._on_event = on_event
        self._runners: dict[str, Runner] = {}

    def runners(self) -> Iterator[Runner]:
        return iter(tuple(self._runners.values()))

    def known(self, runner_id: str) -> Runner | None:
        return self._runners.get(runner_id)

    def labelled(self, label: str) -> Runner | None:
        return next((found for found in self.runners() if found.static and found.static.label == label), None)

    def add(self, runner: Runner) -> None:
        self._runners[runner.runner_id] = runner

    def remove(self, runner: Runner) -> None:
        self.release_all(runner)
        del self._runners[runner.runner_id]

    def expired(self, runner: Runner) -> bool:
        return runner.static is None and self._now() - runner.seen_at > TTL_S

    def usable(self, runner: Runner) -> bool:
        return runner.ready and not self.expired(runner)

    def alive(self, route: str) -> Runner:
        """Return the runner that a route leads to, ready or not; a static label goes before an equal id.

        Raises:
            Refused: unknown or expired.
        """
        found = [runner for runner in self.runners() if runner.route == route and not self.expired(runner)]
        if not found:
            raise Refused(404, "runner not found")
        return min(found, key=lambda runner: runner.static is None)

    def at(self, route: str) -> Runner:
        """As `alive`, and ready. Raises Refused."""
        runner = self.alive(route)
        if not runner.ready:
            raise Refused(404, "runner not found")
        return runner

    def session(self, route: str, session_id: str) -> tuple[Runner, Session]:
        """Raises Refused."""
        runner = self.at(route)
        session = runner.sessions.get(session_id)
        if session is None:
            raise Refused(404, "runner session not found")
        return runner, session

    def proxied(self, proxy_id: str) -> tuple[Runner, Session, str]:
        """Return what a proxy id leads to. Raises Refused."""
        for runner in self.runners():
            for session in runner.sessions.values():
                if proxy_id in session.proxies and self.usable(runner):
                    return runner, session, session.proxies[proxy_id]
        raise Refused(404, "live runner proxy not found")

    def reserve(self, runner: Runner) -> Session:
        """Take a slot. Raises Refused."""
        if runner.free <= 0:
            raise Refused(503, "no capacity available for runner")
        session_id = f"session_{random_id(8)}"
        session = Session(session_id, runner.secret(f"session:{session_id}"))
        runner.sessions[session_id] = session
        self._on_event(runner, "reserved", session)
        return session

    def release(self, runner: Runner, session_id: str) -> None:
        """Give the slot back; nothing happens the second time."""
        if (session := runner.sessions.pop(session_id, None)) is not None:
            self._on_event(runner, "released", session)

    def release_all(self, runner: Runner) -> None:
        for session_id in tuple(runner.sessions):
            self.release(runner, session_id)

    def sweep(self) -> tuple[Runner, ...]:
        """Remove what is past its TTL; return it."""
        gone = tuple(runner for runner in self.runners() if self.expired(runner))
        for runner in gone:
            self.remove(runner)
        return gone
