"""Is the node up, and was it restarted? A node that ends forgets every registration, and tells nobody.

What tells one process of the node from another is in `orchd.node.identity`. A restart counts only when the service
port says that it is healthy, since the CLI port answers long before it (docs/protocol/go-livepeer-cli.md, 5).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

import structlog

from orchd.domain.offer import NodeProgram, NodeStatus
from orchd.domain.signal import Signal
from orchd.domain.stores import SecretStore
from orchd.node.identity import NodeIdentity, NodeSighting, is_new
from orchd.node.ports import NodeCalls, NodeError, Probed
from orchd.node.probe import BODY, PATH, NoVerdict, is_busy, neither, quoted, read_probe
from orchd.node.settings import NodeSettings
from orchd.reasons import one_line

log = structlog.get_logger("orchd.node.watch")

VERSION_CHARS = 80
"""How much is shown of what the node says its version is."""

ADDRESS_NAME = "sentinel address"
"""The name under which the store keeps the sentinel's address."""


class NodeWatch:
    """Polls the node; after `ports.RestartWatch`. Make it inside a running loop.

    Args:
        store: keeps the address of the sentinel.
    """

    def __init__(self, client: NodeCalls, store: SecretStore, settings: NodeSettings) -> None:
        self.status = NodeStatus()
        self.polled: Signal[NodeStatus] = Signal()
        self._client = client
        self._store = store
        self._settings = settings
        self._spoken: dict[str, Callable[[Probed], Awaitable[bool]]] = {}
        self._probed: Probed | None = None
        self._address = ""
        self._known: NodeIdentity | None = None
        self._started_at = 0.0
        self._suspected = asyncio.Event()

    def ask(self, registry: str, spoken: Callable[[Probed], Awaitable[bool]]) -> None:
        """See `RestartWatch.ask`."""
        self._spoken[registry] = spoken

    def suspect(self) -> None:
        """A registry has learned that the node lost something: poll now."""
        self._suspected.set()

    async def run(self) -> None:
        """Poll until cancelled.

        Raises:
            StoreError: the sentinel's address can't be kept.
        """
        self._address = await self._sentinel_address()
        while True:
            suspected = self._suspected.is_set()
            self._suspected.clear()
            try:
                status = await self._poll(suspected)
            except NodeError as exc:
                status = self._down(exc)
            _log_change(self.status, status)
            self.status = status
            self.polled.emit(status)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.poll_s):
                    await self._suspected.wait()

    async def _poll(self, suspected: bool) -> NodeStatus:
        """Return how the node stands.

        Raises:
            NodeError: it can't be used.
        """
        before = self.status
        gone = not before.up
        probed = await self._alive(ask=gone or suspected)
        seen = NodeSighting(await self._client.fingerprint(), *await self._cli_status())
        # Several registries may learn of one loss, and some of them late.
        settled = asyncio.get_running_loop().time() - self._started_at > self._settings.call_timeout_s
        replaced = probed != self._probed
        if replaced or is_new(self._known, seen, self._address, gone=gone, suspected=suspected and settled):
            return await self._started(seen)
        assert self._known is not None
        self._known = replace(self._known, certificate=seen.certificate)
        if self._known.sentinel is None and seen.prices is not None:
            self._known = replace(self._known, sentinel=await self._set_sentinel())
        on_chain = before.on_chain if before.on_chain is not None else await self._on_chain()
        since = time.time() if gone else before.since
        return replace(
            before,
            up=True,
            since=since,
            version=seen.version or before.version,
            on_chain=on_chain,
            error="",
            code=None,
        )

    async def _started(self, seen: NodeSighting) -> NodeStatus:
        """Return the status of a process that was not seen before."""
        probed = await self._probe()  # The CLI port may have been ahead of it.
        certificate = await self._client.fingerprint()
        registries = tuple([name for name, ask in self._spoken.items() if await ask(probed)])
        on_chain = await self._on_chain()
        self._known = NodeIdentity(certificate, await self._set_sentinel())
        self._probed = probed
        self._started_at = asyncio.get_running_loop().time()
        epoch = self.status.epoch + 1
        return NodeStatus(True, epoch, time.time(), on_chain, seen.version, registries, program=probed.program)

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
        known = self._probed
        if known is None or ask:
            return await self._probe()
        path = "/discovery" if known.live_runner else "/healthz"
        answer = await self._client.service("GET", path)
        if answer.status == 200 or is_busy(answer):
            return known
        return await self._probe(quoted(path, answer))

    async def _probe(self, other: str = "") -> Probed:
        """Ask the node which program it is.

        Args:
            other: another answer of it in words, to be shown beside one that says nothing.
        """
        answer = await self._client.service("POST", PATH, body=BODY)
        match read_probe(answer):
            case NoVerdict.NO_LIVE_RUNNER:
                health = await self._client.service("GET", "/healthz")
                if health.status != 200:
                    raise neither(answer, quoted("/healthz", health))
                return Probed(NodeProgram.GO_LIVEPEER, live_runner=False)
            case NoVerdict.BUSY:
                if self._probed is None:
                    raise neither(answer, other)
                return self._probed
            case Probed() as found:
                return found

    async def _cli_status(self) -> tuple[dict[str, str] | None, str]:
        """Return the base prices by address, and the version; None and empty where there is no usable CLI port."""
        if not self._settings.cli_url:
            return None, ""
        try:
            status = (await self._client.cli("GET", "/status")).json()
            return dict(status["BroadcasterPrices"]), one_line(str(status["Version"]), VERSION_CHARS)
        except (NodeError, KeyError, TypeError, ValueError) as exc:
            log.debug("node_cli_failed", error=str(exc))
            return None, ""

    async def _on_chain(self) -> bool | None:
        """Return None if the CLI port can't tell."""
        try:
            answer = await self._client.cli("GET", "/EthChainID")
        except NodeError:
            return None
        return answer.text() != "0" if answer.status == 200 and answer.text().isdecimal() else None

    async def _set_sentinel(self) -> str | None:
        """Leave a new one and return it; None = the CLI port took none."""
        sentinel = str(1 + secrets.randbelow(2**31))
        form = {"broadcasterEthAddr": self._address, "pricePerUnit": sentinel, "pixelsPerUnit": "1"}
        try:
            answer = await self._client.cli("POST", "/setPriceForBroadcaster", form=form)
        except NodeError:
            return None
        return sentinel if answer.status == 200 else None

    async def _sentinel_address(self) -> str:
        address = await self._store.secret(ADDRESS_NAME)
        if address is None or re.fullmatch(r"0x[0-9a-f]{40}", address) is None:
            address = "0x" + secrets.token_hex(20)
            await self._store.save_secret(ADDRESS_NAME, address)
        return address


def _log_change(before: NodeStatus, now: NodeStatus) -> None:
    if now.epoch != before.epoch:
        log.info(
            "node_started",
            program=now.program,
            epoch=now.epoch,
            version=now.version,
            on_chain=now.on_chain,
            registries=[str(name) for name in now.registries],
        )
    elif now.up and not before.up:
        log.info("node_back")
    elif (now.up, now.error) != (before.up, before.error):
        log.warning("node_down", error=now.error, code=now.code)
