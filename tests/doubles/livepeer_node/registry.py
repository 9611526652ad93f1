"""PURE. Runners and their sessions: who may say what, who has a place, and what ends with what.

Source: livepeer-node.md 4, 5, 8. Its `Refused` become JSON answers.
"""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.doubles.livepeer_node.entries import PERSISTENT, READY, Entry
from tests.doubles.livepeer_node.grants import Grants

MAX_RUNNERS = 256
MAX_SESSIONS = 10_000
MAX_PROXIES = 25

BAD_CREDENTIAL = "invalid runner credential"
BAD_TOKEN = "invalid session token"
NO_SESSION = "session not found"
UNAVAILABLE = "runner unavailable"


class Refused(Exception):
    """The answer's status and the text of its `error`; `close`: the connection ends with it."""

    def __init__(self, status: int, message: str, *, close: bool = False) -> None:
        super().__init__(message)
        self.status = status
        self.close = close


def base32(length: int) -> str:
    return base64.b32encode(secrets.token_bytes(length)).decode().rstrip("=").lower()[:length]


@dataclass(frozen=True)
class Proxied:
    """Where a proxy id leads, and under which grants."""

    target: str
    grants: Grants


@dataclass(eq=False)
class Session:
    session_id: str
    token: str
    runner: Runner
    proxies: dict[str, Proxied] = field(default_factory=dict)
    channels: dict[str, str] = field(default_factory=dict)
    """Name given by the runner to the channel's name."""
    pending: bool = False
    """Reserved and not paid: it counts, and it is told to the runner by `session_ids`, but nobody can use it."""
    ended: bool = False
    _watchers: set[Callable[[], None]] = field(default_factory=set)

    @contextmanager
    def watched(self, call: Callable[[], None]) -> Iterator[None]:
        """`call` is called when the session ends."""
        self._watchers.add(call)
        try:
            yield
        finally:
            self._watchers.discard(call)

    def end(self) -> None:
        self.ended = True
        for watcher in tuple(self._watchers):
            watcher()


@dataclass(eq=False)
class Runner:
    """`seen_at` is the last heartbeat, without meaning for a static runner; `healthy` is what its health check says."""

    runner_id: str
    entry: Entry
    static: bool = False
    healthy: bool = True
    seen_at: float = 0.0
    secret: str = field(default_factory=lambda: base32(52))
    sessions: dict[str, Session] = field(default_factory=dict)

    @property
    def persistent(self) -> bool:
        return self.entry.mode == PERSISTENT

    @property
    def free(self) -> int:
        """Below 0 after the capacity was lowered under the sessions."""
        return self.entry.capacity - len(self.sessions)


class Registry:
    """`on_event` hears of every session that begins ("reserved") and ends ("released")."""

    def __init__(
        self, now: Callable[[], float], ttl_s: float, secret: bytes | None, on_event: Callable[[str, Session], None]
    ) -> None:
        self._now = now
        self._ttl_s = ttl_s
        self._secret = secret
        self._on_event = on_event
        self._runners: dict[str, Runner] = {}

    def runners(self) -> Iterator[Runner]:
        return iter(tuple(self._runners.values()))

    def known(self, runner_id: str) -> Runner | None:
        return self._runners.get(runner_id)

    @property
    def session_count(self) -> int:
        return sum(len(runner.sessions) for runner in self._runners.values())

    def add(self, runner: Runner) -> None:
        self._runners[runner.runner_id] = runner

    def remove(self, runner: Runner) -> None:
        self.end_all(runner)
        del self._runners[runner.runner_id]

    def expired(self, runner: Runner) -> bool:
        return not runner.static and self._now() - runner.seen_at > self._ttl_s

    def usable(self, runner: Runner) -> bool:
        return runner.entry.status == READY and runner.healthy and not self.expired(runner)

    # Heartbeats.

    def _bootstrap(self, credential: bytes) -> bool:
        return bool(self._secret) and hmac.compare_digest(credential, self._secret or b"")

    def admit(self, credential: bytes) -> None:
        """Whether the credential is anybody's at all, before the body is read. Raises Refused."""
        dynamic = [runner for runner in self.runners() if not runner.static]
        known = any(hmac.compare_digest(credential, runner.secret.encode()) for runner in dynamic)
        if not known and not self._bootstrap(credential):
            raise Refused(401, BAD_CREDENTIAL, close=True)

    def heartbeat(self, credential: bytes, entry: Entry) -> tuple[Runner, bool]:
        """Take the entry over; return its runner, and whether it is new. Raises Refused."""
        runner = self.known(entry.runner_id)
        if runner is not None and runner.static:
            raise Refused(403, "static runner cannot heartbeat")
        first = runner is None
        if runner is None:
            if not self._bootstrap(credential):
                raise Refused(401, BAD_CREDENTIAL)
            if len(self._runners) >= MAX_RUNNERS:
                raise Refused(503, "runner capacity reached")
            runner = Runner(entry.runner_id or f"runner_{base32(8)}", entry)
            self.add(runner)
        elif not hmac.compare_digest(credential, runner.secret.encode()):
            raise Refused(401, BAD_CREDENTIAL)
        runner.entry = entry
        runner.seen_at = self._now()
        return runner, first

    def leaving(self, runner_id: str, credential: bytes) -> Runner:
        """Return the runner that unregisters. Raises Refused."""
        runner = self.known(runner_id)
        if runner is None:
            raise Refused(404, "runner not found")
        if runner.static or not hmac.compare_digest(credential, runner.secret.encode()):
            raise Refused(401, BAD_CREDENTIAL)
        return runner

    # Sessions.

    def reserve(self, runner_id: str, *, persistent: bool, pending: bool = False) -> Session:
        """Take a slot; a pending session waits for `paid`, or ends. Raises Refused."""
        runner = self.known(runner_id)
        if runner is None or not self.usable(runner):
            raise Refused(404, UNAVAILABLE)
        if runner.persistent != persistent:
            raise Refused(400, f"runner is not {'persistent' if persistent else 'single-shot'}")
        if self.session_count >= MAX_SESSIONS:
            raise Refused(503, "session capacity reached")
        if runner.free <= 0:
            raise Refused(409, "runner at capacity")
        session = Session(f"session_{base32(16)}", base32(52), runner, pending=pending)
        runner.sessions[session.session_id] = session
        if not pending:
            self._on_event("reserved", session)
        return session

    def paid(self, session: Session) -> None:
        """A pending session is one like any other from now on."""
        session.pending = False
        self._on_event("reserved", session)

    def end(self, session: Session) -> None:
        """Give the slot back and cut what is under way; nothing happens the second time."""
        if session.runner.sessions.pop(session.session_id, None) is not None:
            self._on_event("released", session)
            session.end()

    def end_all(self, runner: Runner) -> None:
        for session in tuple(runner.sessions.values()):
            self.end(session)

    def session(self, runner_id: str, session_id: str) -> Session:
        """Raises Refused."""
        runner = self.known(runner_id)
        session = runner.sessions.get(session_id) if runner is not None else None
        if session is None:
            raise Refused(404, NO_SESSION)
        return session

    def usable_session(self, runner_id: str, session_id: str) -> Session:
        """Raises Refused."""
        session = self.session(runner_id, session_id)
        if session.pending or not self.usable(session.runner):
            raise Refused(404, NO_SESSION)
        return session

    def proxied(self, proxy_id: str) -> tuple[Session, Proxied]:
        """Raises Refused."""
        for runner in self.runners():
            for session in runner.sessions.values():
                if proxy_id in session.proxies and not session.pending and self.usable(runner):
                    return session, session.proxies[proxy_id]
        raise Refused(404, "proxy not found")

    def add_proxy(self, session: Session, target: str, grants: Grants) -> str:
        """Return the id. Raises Refused."""
        if len(session.proxies) >= MAX_PROXIES:
            raise Refused(403, BAD_TOKEN)
        proxy_id = base32(16)
        session.proxies[proxy_id] = Proxied(target, grants)
        return proxy_id
