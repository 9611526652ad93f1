"""What is asked of the node about one model, and what its answer means in the dialect of the program."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import NamedTuple

from orchd.advertise.live_runner import refusals, wire
from orchd.advertise.live_runner.dialects.dialect import Dialect, unregistered
from orchd.advertise.live_runner.known_pace import KnownPace
from orchd.advertise.live_runner.listings import LiveListings
from orchd.advertise.live_runner.plan import RunnerRecord
from orchd.advertise.live_runner.secret_probe import SecretProbe
from orchd.advertise.live_runner.states import E, ListingEvent
from orchd.advertise.live_runner.wire import HeartbeatAnswer
from orchd.advertise.registry import RegistryContext
from orchd.domain.ids import ModelKey
from orchd.domain.model import Secret
from orchd.errors import Code, OrchdError
from orchd.node.ports import NodeAnswer, NodeError


@dataclass(frozen=True, slots=True)
class LiveContext:
    """What all models of the registry have in common.

    Attributes:
        readers: as many event channels are read at once as it lets in.
    """

    context: RegistryContext
    live: LiveListings
    pace: KnownPace
    probe: SecretProbe
    readers: asyncio.Semaphore


class Heard(NamedTuple):
    """What came of a call.

    Attributes:
        status: of the answer; 0 = there was none.
        welcome: of a heartbeat that was taken.
    """

    event: ListingEvent
    error: OrchdError | None = None
    status: int = 0
    welcome: HeartbeatAnswer | None = None


class RunnerCalls:
    """The calls about one model."""

    def __init__(self, key: ModelKey, runner_id: str, shared: LiveContext) -> None:
        self._key = key
        self._id = runner_id
        self._live = shared.live
        self._node = shared.context.node
        self._probe = shared.probe

    async def heartbeat(
        self, dialect: Dialect, record: RunnerRecord, sessions: frozenset[str], own: Secret | None
    ) -> Heard:
        """Say what the node is to list.

        Args:
            own: the runner's secret; None = it is not registered, so the node's is sent.
        """
        secret = own or self._node.calls.secret
        try:
            if secret is None:
                raise refusals.no_secret(dialect)
            body = wire.heartbeat(self._id, self._live.url(self._key), record, sessions)
            answer = await self._post("/runners/heartbeat", secret, body)
            if answer.status == 200:
                return self._welcomed(answer, dialect, fresh=own is None)
            event = dialect.heard(answer.status, answer.error_text(), beating=own is not None)
            if event is None:
                event = dialect.probed(await self._probe.status(secret))
        except NodeError as exc:
            return Heard(E.REFUSED if exc.code is Code.NODE_SECRET else E.SILENCE, exc)
        return Heard(event, self._explain(event, answer, dialect, record, secret), answer.status)

    async def unregister(self, dialect: Dialect, own: Secret | None) -> Heard:
        """Have the node forget the model, and end its sessions."""
        if own is None:
            return Heard(E.GONE)
        try:
            answer = await self._post(f"/runners/{self._id}/unregister", own)
        except NodeError as exc:
            return Heard(E.SILENCE, exc)
        event, said = unregistered(answer.status), self._live.clean(self._key, answer.error_text(), own)
        why = refusals.not_unregistered(self._key, dialect, answer.status, said)
        return Heard(event, None if event is E.GONE else why, answer.status)

    async def _post(self, path: str, secret: Secret, body: bytes | None = None) -> NodeAnswer:
        headers = {"Content-Type": "application/json"} if body is not None else {}
        answer = await self._node.calls.service("POST", path, headers=headers, body=body, authorization=secret)
        if answer.is_page:  # Its 401 or 404 says nothing of what the node knows of us.
            raise NodeError(
                f"cannot reach the node: a web page is answered in its place, with {answer.status} and "
                f"{self._live.clean(self._key, answer.text(), secret)!r}",
                code=Code.NODE_REFUSED,
            )
        return answer

    def _welcomed(self, answer: NodeAnswer, dialect: Dialect, *, fresh: bool) -> Heard:
        try:
            welcome = wire.read_welcome(answer.json(), dialect.pace)
            if fresh and welcome.secret is None:
                raise ValueError("it has no heartbeat_secret")
        except ValueError as exc:
            raise NodeError(
                f"cannot use {dialect.name}'s answer to a heartbeat: {exc}", code=Code.NODE_REFUSED
            ) from exc
        return Heard(E.TAKEN if welcome.sessions else E.IDLE, None, answer.status, welcome)

    def _explain(
        self, event: ListingEvent, answer: NodeAnswer, dialect: Dialect, record: RunnerRecord, sent: Secret
    ) -> OrchdError | None:
        """Return what a person should know; None where orchd helps itself, or waits for a record to expire."""
        if event in (E.UNKNOWN, E.OTHER_SECRET):
            return None
        if event is E.REFUSED and answer.status == 401:
            file = self._node.secret_file
            return refusals.wrong_secret(self._key, dialect, file.path, file.around)
        said = self._live.clean(self._key, answer.error_text(), sent)
        why_no_price = self._live.why_no_price(self._key) if record.price is None else ""
        return refusals.refused(self._key, dialect, answer.status, said, why_no_price=why_no_price)
