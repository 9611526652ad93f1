"""Sessions that live as long as the test wants, and channels that are only noted."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchd.channels.channels import TooManyChannels
from orchd.domain.ids import ModelKey
from orchd.domain.model import Secret
from orchd.domain.outcomes import Outcome
from orchd.domain.signal import Signal
from orchd.domain.sold import SoldSession

KEY = ModelKey("image", "org/one")


@dataclass
class LivingSessions:
    """After `domain.sold.SoldSessions`."""

    live: dict[str, SoldSession] = field(default_factory=dict)
    began: Signal[SoldSession] = field(default_factory=Signal)
    ending: Signal[SoldSession, str] = field(default_factory=Signal)
    ended: Signal[SoldSession, str] = field(default_factory=Signal)

    def begin(self, id: str, key: ModelKey = KEY, *, pending: bool = False) -> SoldSession:
        """Return a session that lives from now on."""

        def end(outcome: Outcome, why: str, word: str = "") -> None:
            self.end(made, why)

        made = SoldSession(id, key, "", persistent=True, fixed=False, sign_at=0.0, end=end, pending=pending)
        self.live[id] = made
        return made

    def end(self, session: SoldSession, why: str = "") -> None:
        """End one that may live."""
        if self.live.get(session.id) is session:
            del self.live[session.id]
            self.ended.emit(session, why)

    def find(self, id: str) -> SoldSession | None:
        return self.live.get(id)

    def was_here(self, id: str) -> bool:
        return False

    async def forgotten(self, session: SoldSession, within_s: float) -> None:
        pass

    def of_account(self, account: str) -> SoldSession | None:
        return None

    def touch(self, session: SoldSession) -> None:
        pass

    def served_ns(self, session: SoldSession) -> int:
        return 0

    def token(self, session: SoldSession) -> Secret:
        return Secret(f"token of {session.id}")


@dataclass
class NotedChannels:
    """After `channels.ports.ChannelKeeper`, as far as names go.

    Attributes:
        most: that many at once.
        there: type and session of each.
        published: name and body of each segment that orchd has written.
    """

    most: int = 768
    there: dict[str, tuple[str, str]] = field(default_factory=dict)
    published: list[tuple[str, bytes]] = field(default_factory=list)

    def create(self, name: str, mime_type: str, session: str) -> None:
        if len(self.there) >= self.most:
            raise TooManyChannels(name)
        self.there[name] = (mime_type, session)

    def remove(self, name: str) -> None:
        self.there.pop(name, None)

    def head(self, name: str) -> int | None:
        return sum(of == name for of, _ in self.published) if name in self.there else None

    def publish(self, name: str, body: bytes) -> None:
        assert name in self.there
        self.published.append((name, body))
