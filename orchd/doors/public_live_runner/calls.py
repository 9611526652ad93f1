"""What orchd answers Live Runner's clients itself: what is sold and on which terms, top-ups, stops. Pure.

Source: docs/protocol/paid-live-runner.md, 2, 4 and 9.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from orchd.domain.ids import ModelKey
from orchd.domain.model import Model
from orchd.domain.outcomes import Outcome
from orchd.domain.sold import EndWord, SoldSession, SoldSessions
from orchd.doors.base import Readiness
from orchd.doors.own import Answered, OwnRequest
from orchd.doors.public_live_runner.answers import as_json, no_session
from orchd.doors.public_live_runner.paths import ClientPath
from orchd.errors import Code, JobRefused
from orchd.tickets.live_runner.ports import LiveRunnerDesk


class TellsModels(Protocol):
    """See `discovery.Discovery`."""

    def document(self, query: str) -> bytes:
        """Return what is sold here, less what the query of the request leaves out."""
        ...


class NotesClients(Protocol):
    """Notes that clients have come, for operators."""

    def discovered(self) -> None:
        """Somebody has asked what is sold here."""
        ...

    def challenged(self) -> None:
        """Somebody was told on which terms."""
        ...


@dataclass(frozen=True, slots=True)
class ClientCalls:
    """Answers them, of what the rest of orchd knows.

    Attributes:
        desk: tells terms and takes top-ups.
        sold: the sessions that live.
        models: tells what is sold here.
        clients: hears of them.
        could_begin: whether a session of a model could begin, by a start of a cold one, too; and if not, why.
    """

    desk: LiveRunnerDesk
    sold: SoldSessions
    models: TellsModels
    clients: NotesClients
    could_begin: Callable[[ModelKey], Readiness]

    def discover(self, query: str, asked: OwnRequest) -> Answered:
        """Answer `GET /discovery`."""
        self.clients.discovered()
        return Answered(200, self.models.document(query))

    async def challenge(self, model: Model, asked: OwnRequest) -> Answered:
        """Answer a request that brings no payment, and needs one: with the terms.

        Raises:
            Refusal: as `LiveRunnerDesk.challenge`.
            JobRefused: NOT_READY: nothing that it pays for could begin.
        """
        able, why_not = self.could_begin(model.key)
        if not able:
            raise JobRefused(Code.NOT_READY, f"cannot begin a session of {model.key}: {why_not}")
        challenge = await self.desk.challenge(asked, model)
        self.clients.challenged()
        return as_json(402, challenge)

    async def top_up(self, path: ClientPath, asked: OwnRequest) -> Answered:
        """Answer a top-up, with fresh terms.

        Raises:
            Refusal: as `LiveRunnerDesk.top_up`.
        """
        return as_json(200, await self.desk.top_up(asked, path.slug, path.session))

    async def refresh(self, asked: OwnRequest) -> Answered:
        """Answer a request for fresh terms.

        Raises:
            Refusal: as `LiveRunnerDesk.refresh`.
        """
        return as_json(200, await self.desk.refresh(asked))

    async def stop(self, path: ClientPath, asked: OwnRequest) -> Answered:
        """End a session. One that is over already is fine: a client that is told otherwise raises an error.

        It is not there again after a restart, unless the disk is in trouble: the client is done with it all the same.

        Raises:
            JobRefused: STREAM_UNKNOWN: there never was such a session.
        """
        session = self.of_path(path)
        if session is not None:
            session.end(Outcome.OK, "its client has stopped it", EndWord.STOPPED)
            await self.sold.forgotten(session, asked.seconds / 2)
        elif not (self.sold.was_here(path.session) or self.desk.knows(path.session)):
            raise no_session()
        return as_json(200, {"ok": True})

    def of_path(self, path: ClientPath) -> SoldSession | None:
        """Return the session that lives and that a path names; None = there is none, or it is another model's."""
        session = self.sold.find(path.session)
        return session if session is not None and session.key.slug == path.slug else None
