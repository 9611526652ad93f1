"""The sessions that orchd sells itself, as the test says that they are."""

from __future__ import annotations

from dataclasses import dataclass, field

from orchd.domain.ids import ModelKey
from orchd.domain.model import Secret
from orchd.domain.outcomes import Outcome
from orchd.domain.signal import Signal
from orchd.domain.sold import EndSession, SoldSession


@dataclass
class FakeSold:
    """After `domain.sold.SoldSessions`. Time passes where the test lets it pass.

    Attributes:
        live: by id.
        served: seconds, by id; kept after the end.
        touched: ids, in order.
        forgot: ids of those that somebody has seen to be forgotten, in order.
    """

    live: dict[str, SoldSession] = field(default_factory=dict)
    served: dict[str, float] = field(default_factory=dict)
    touched: list[str] = field(default_factory=list)
    forgot: list[str] = field(default_factory=list)
    began: Signal[SoldSession] = field(default_factory=Signal)
    ending: Signal[SoldSession, str] = field(default_factory=Signal)
    ended: Signal[SoldSession, str] = field(default_factory=Signal)

    def begin(
        self,
        id: str,
        key: ModelKey,
        account: str = "",
        *,
        payer: str = "",
        persistent: bool = True,
        fixed: bool = False,
    ) -> SoldSession:
        """Register one whose payment is being booked."""
        made = SoldSession(id, key, payer, persistent, fixed, 0.0, self._end(id), account)
        self.live[id], self.served[id] = made, 0.0
        return made

    def stop(self, id: str) -> None:
        """End one."""
        self.live[id].end(Outcome.OK, "it was stopped")

    def find(self, id: str) -> SoldSession | None:
        return self.live.get(id)

    def was_here(self, id: str) -> bool:
        return id in self.served and id not in self.live

    def of_account(self, account: str) -> SoldSession | None:
        return next((each for each in self.live.values() if each.account == account), None)

    def touch(self, session: SoldSession) -> None:
        self.touched.append(session.id)

    def served_ns(self, session: SoldSession) -> int:
        return round(self.served[session.id] * 10**9)

    def token(self, session: SoldSession) -> Secret:
        return Secret(f"token of {session.id}")

    async def forgotten(self, session: SoldSession, within_s: float) -> None:
        self.forgot.append(session.id)

    def _end(self, id: str) -> EndSession:
        def end(outcome: Outcome, why: str, word: str = "") -> None:
            if (session := self.live.pop(id, None)) is not None:
                self.ended.emit(session, why)

        return end
