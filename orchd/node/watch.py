"""Is the node up, which program is it, and was it restarted? One that ends forgets all registrations, and tells nobody.

What tells one process of the node from another is in `orchd.node.identity`, which program it is in `orchd.node.probe`.
A restart counts only when the service port answers, since the CLI port answers long before it
(docs/protocol/go-livepeer-cli.md, 5).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from math import inf
from typing import Any

import structlog

from orchd.domain.offer import NodeProgram, NodeStatus
from orchd.domain.signal import Signal
from orchd.domain.stores import SecretStore
from orchd.errors import Code, StoreError
from orchd.node.address import is_as_written
from orchd.node.cli_port import CliPort
from orchd.node.identity import LostRunner, NodeIdentity, NodeSighting, is_new
from orchd.node.ports import Discovered, NodeConnection, NodeError, Probed
from orchd.node.probe import BODY, PATH, NoVerdict, is_busy, neither, quoted, read_probe
from orchd.node.settings import NodeSettings
from orchd.node.starts import StartsLeft
from orchd.node.tables import PROGRAM_NAME

log = structlog.get_logger("orchd.node.watch")

AWAY_SHARE = 0.25
"""A node that is away is looked for after this share of `poll_s`: what it lost is to be told soon after it answers."""


class NodeWatch:
    """Polls the node; after `ports.RestartWatch`. Make it inside a running loop.

    Args:
        store: keeps the address of the sentinel, and which program it was.
    """

    def __init__(self, client: NodeConnection, store: SecretStore, settings: NodeSettings) -> None:
        self.status = NodeStatus()
        self.polled: Signal[NodeStatus] = Signal()
        self.discovered: Signal[Discovered] = Signal()
        self._client = client
        self._cli = CliPort(client, store, settings.cli_url)
        self._store = store
        self._kept: NodeProgram | None = None
        self._not_kept = ""
        self._settings = settings
        self._now = asyncio.get_running_loop().time
        self._spoken: dict[str, Callable[[Probed], Awaitable[bool]]] = {}
        self._known: NodeIdentity | None = None
        self._refused: NodeError | None = None
        """Why a registry that the settings want can't be used."""
        self._starts = StartsLeft()
        self._back_at = -inf
        self._runs_since = -inf
        """At the latest, on the loop clock: what was asked later was asked of the process that we know."""
        self._lost: LostRunner | None = None
        self._suspected = asyncio.Event()

    def ask(self, registry: str, spoken: Callable[[Probed], Awaitable[bool]]) -> None:
        """See `RestartWatch.ask`."""
        self._spoken[registry] = spoken

    def suspect(self, taken_at: float | None = None) -> None:
        """See `RestartWatch.suspect`."""
        # What only an earlier process knew proves nothing: its end has been counted.
        if taken_at is not None and taken_at > self._runs_since:
            self._lost = self._lost or LostRunner(taken_at, self._now())
        self._suspected.set()

    async def run(self) -> None:
        """Poll until cancelled.

        Raises:
            StoreError: the sentinel's address can't be kept.
        """
        await self._cli.open()
        while True:
            suspected = self._suspected.is_set()
            self._suspected.clear()
            try:
                status = replace(await self._poll(suspected), notes=self._notes())
            except NodeError as exc:
                status = self._down(exc)
            _log_change(self.status, status)
            self.status = status
            self.polled.emit(status)
            await self._keep(status.program)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.poll_s * (1 if status.up else AWAY_SHARE)):
                    await self._suspected.wait()

    async def _keep(self, program: NodeProgram | None) -> None:
        """Keep which program it is: jobs may come before the first look of the next start.

        A store that fails is tried again at the next look, and ends nothing.
        """
        if program is None or program is self._kept:
            return
        try:
            await self._store.save_secret(PROGRAM_NAME, program)
        except StoreError as exc:
            if exc.message != self._not_kept:
                self._not_kept = exc.message
                log.error("node_program_not_kept", program=program, reason=exc.message)
        else:
            self._kept, self._not_kept = program, ""

    async def _poll(self, suspected: bool) -> NodeStatus:
        """Return how the node stands.

        Raises:
            NodeError: it can't be used.
        """
        before, lost, begun_at = self.status, self._lost, self._now()
        gone = not before.up
        probed = await self._alive(ask=gone or suspected)
        if gone:
            self._back_at = self._now()
        certificate = await self._client.fingerprint()
        prices, version = await self._cli.status(probed)
        if prices is None and self._known is not None and self._known.sentinel is not None:
            probed = await self._probe()  # The CLI port has gone: this may be a program that has none.
        seen = NodeSighting(probed, certificate, prices, version, gone, lost, self._back_at)
        known = self._known
        if known is None or is_new(known, seen, self._cli.address):
            starts = self._starts.counted(self._now())
            if known is None or starts is not None:
                status = await self._started(seen)
                self._starts, self._lost = starts or self._starts, None
                self._runs_since = lost.heard_at if lost else begun_at
                return status
            log.debug("node_start_not_counted", epoch=before.epoch)
        else:
            self._known = known = known.shown(certificate)
            if self._lost is lost:
                self._lost = None  # It was another's doing.
            if known.sentinel is None and prices is not None:
                self._known = replace(known, sentinel=await self._cli.set_sentinel())
        on_chain = before.on_chain if before.on_chain is not None else await self._cli.on_chain(probed)
        since = time.time() if gone else before.since
        version = version or before.version
        return replace(before, up=True, since=since, version=version, on_chain=on_chain, **self._unused())

    async def _started(self, seen: NodeSighting) -> NodeStatus:
        """Return the status of a process that was not seen before."""
        probed = await self._probe()  # The CLI port may have been ahead of it.
        certificate = await self._client.fingerprint()
        registries = await self._registries(probed)
        on_chain = await self._cli.on_chain(probed)
        sentinel = await self._cli.set_sentinel() if probed.program is NodeProgram.GO_LIVEPEER else None
        known = self._known or NodeIdentity(probed, certificate)
        self._known = replace(known.succeeded(probed, certificate), sentinel=sentinel)
        epoch = self.status.epoch + 1
        status = NodeStatus(True, epoch, time.time(), on_chain, seen.version, registries, program=probed.program)
        return replace(status, **self._unused())

    async def _registries(self, probed: Probed) -> tuple[str, ...]:
        """Return those that are used.

        Raises:
            NodeError: the node did not say which it has.
        """
        used, self._refused = [], None
        for name, ask in self._spoken.items():
            try:
                if await ask(probed):
                    used.append(name)
            except NodeError as exc:
                if exc.code is not Code.NOT_SPOKEN:
                    raise
                self._refused = exc
        return tuple(used)

    def _unused(self) -> dict[str, Any]:
        """Return the fields of the status that say why a registry is not used although the settings want it."""
        return {"error": self._refused.message if self._refused else "", "code": self._refused and self._refused.code}

    def _notes(self) -> tuple[str, ...]:
        base, written = self._client.base, self._settings.service_url
        scheme = (
            ""
            if is_as_written(base, written)
            else f"orchestrator.service_url is {written}, but {base} answers: write that"
        )
        return tuple(note for note in (scheme, self._cli.note) if note)

    def _down(self, exc: NodeError) -> NodeStatus:
        before = self.status
        since = time.time() if before.up else before.since
        return replace(before, up=False, since=since, error=exc.message, code=exc.code)

    async def _alive(self, *, ask: bool) -> Probed:
        """Return what the node is, once it has shown a sign of life.

        Args:
            ask: it may be another program than at the last look.

        Raises:
            NodeError: it shows none.
        """
        known = self._known.probed if self._known else None
        probed = await self._probe() if known is None or ask else known
        if probed is not known and not probed.live_runner:
            return probed
        path, asked_at = "/discovery" if probed.live_runner else "/healthz", self._now()
        try:
            answer = await self._client.service("GET", path)
        except NodeError as exc:
            if not (exc.wrong_scheme or exc.dropped):
                raise
            return await self._probe()  # What has taken its place may speak the other scheme.
        alive = answer.status == 200 and not answer.is_page
        if alive and probed.live_runner:
            self.discovered.emit(Discovered(asked_at, answer))
        if alive or is_busy(answer):
            return probed
        return await self._probe(quoted(path, answer))

    async def _probe(self, other: str = "") -> Probed:
        """Ask the node which program it is, by the other scheme if it does not speak this one.

        Args:
            other: another answer of it in words, to be shown beside one that says nothing.
        """
        try:
            return await self._asked(other)
        except NodeError as exc:
            if not (exc.wrong_scheme or exc.dropped) or not self._client.switch_scheme():
                raise
            try:
                found = await self._asked(other)
            except NodeError as by_the_other:
                self._client.switch_scheme()
                raise exc if by_the_other.wrong_scheme or by_the_other.dropped else by_the_other from exc
        base, written = self._client.base, self._settings.service_url
        say = log.info if is_as_written(base, written) else log.warning
        say("node_scheme_changed", url=base, setting=f"orchestrator.service_url = {written}")
        return found

    async def _asked(self, other: str) -> Probed:
        answer = await self._client.service("POST", PATH, body=BODY)
        match read_probe(answer):
            case Probed() as found:
                return found
            case NoVerdict.BUSY if self._known is not None:
                return self._known.probed
            case NoVerdict.NO_LIVE_RUNNER:
                health = await self._client.service("GET", "/healthz")
                if health.status == 200:
                    return Probed(NodeProgram.GO_LIVEPEER, live_runner=False)
                other = quoted("/healthz", health)
        raise neither(answer, other or quoted("/discovery", await self._client.service("GET", "/discovery")))


def _log_change(before: NodeStatus, now: NodeStatus) -> None:
    if now.epoch != before.epoch:
        log.info(
            "node_started",
            program=now.program,
            epoch=now.epoch,
            version=now.version,
            on_chain=now.on_chain,
            registries=[str(name) for name in now.registries],
            notes=now.notes,
        )
    elif now.up and not before.up:
        log.info("node_back")
    elif now.up and now.notes != before.notes:
        log.info("node_notes", notes=now.notes)
    elif not now.up and (before.up, before.error) != (False, now.error):
        log.warning("node_down", error=now.error, code=now.code)
    if now.up and now.error and (now.epoch, now.error) != (before.epoch, before.error):
        log.warning("registry_not_used", error=now.error, code=now.code)
