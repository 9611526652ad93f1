"""The sessions that orchd sells itself and that live now: what the part `sold` offers the parts above it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, Protocol

from orchd.domain.ids import ModelKey
from orchd.domain.model import Secret
from orchd.domain.outcomes import Outcome
from orchd.domain.signal import Signal


class EndWord(StrEnum):
    """Why a session has ended, for programs: what the requests in it are told that are cut then."""

    STOPPED = "session_stopped"
    """Its client or its container has ended it."""
    IDLE = "session_idle"
    """Nobody has used it."""


class EndSession(Protocol):
    """Ends a session soon, with what is in flight. Repeats are fine."""

    def __call__(self, outcome: Outcome, why: str, word: str = "") -> None:
        """Begin its end.

        Args:
            word: for programs; empty = `session_ended`.
        """
        ...


@dataclass(eq=False, slots=True)
class SoldSession:
    """A session that a client has reserved here: a persistent one, or a single-shot job.

    Attributes:
        id: as clients name it: the manifest of its challenge, or made by orchd where it is free.
        key: the model.
        payer: address of who pays, with `0x` and in lower case; empty = it is free.
        account: id of its account (`hooks.account.Account.id`); empty = it has none yet.
        persistent: it outlives a request; else it is a single-shot job.
        fixed: it is paid once, and takes no top-up.
        pending: its payment is being booked: it is counted, and its container does not see it yet.
        ending: its end has begun: no request and no payment is taken in it, and its container has its last word.
        sign_at: loop clock, seconds: the last request, byte (of its channels, too) or top-up.
        end: ends it.
    """

    id: str
    key: ModelKey
    payer: str
    persistent: bool
    fixed: bool
    sign_at: float
    end: EndSession
    account: str = ""
    pending: bool = True
    ending: bool = False


class Bought(NamedTuple):
    """Who pays for a session, and how; see `SoldSession`."""

    payer: str = ""
    account: str = ""
    fixed: bool = False


class SoldSessions(Protocol):
    """The sessions that live now.

    Attributes:
        began: one is pending no more.
        ending: the end of one has begun, and why: the last moment to tell it anything.
        ended: one has ended, and why; its channels and proxies go.
    """

    @property
    def began(self) -> Signal[SoldSession]: ...

    @property
    def ending(self) -> Signal[SoldSession, str]: ...

    @property
    def ended(self) -> Signal[SoldSession, str]: ...

    def find(self, id: str) -> SoldSession | None:
        """Return the one of this id that lives, pending or not, or that an earlier orchd has left and that is still to
        be found again; None = there is none."""
        ...

    def was_here(self, id: str) -> bool:
        """Return whether one of this id has ended lately."""
        ...

    async def forgotten(self, session: SoldSession, within_s: float) -> None:
        """Return when a session whose end has begun can't come back after a restart. If the disk is broken, or takes
        longer than so many seconds, that is logged."""
        ...

    def of_account(self, account: str) -> SoldSession | None:
        """Return the one that this account is for; None = it has ended, or was never sold."""
        ...

    def touch(self, session: SoldSession) -> None:
        """Note a sign of life: a request was answered in it, a byte moved, or it was topped up. After a restart its
        time counts from the first one on."""
        ...

    def served_ns(self, session: SoldSession) -> int:
        """Return the nanoseconds in which it could be served since it began or, after a restart, since its first sign
        of life: only while its runner was ready. Never less than before; of one that has ended it stays as it was."""
        ...

    def token(self, session: SoldSession) -> Secret:
        """Return what its container proves with that it may speak for it; the same after a restart."""
        ...
