"""Is the node there, and is it still the same process? It forgets every registration when it ends, and tells nobody.

Two things change with the process, and both are looked at where the deployment allows (byoc.md 4.1): the certificate
of the service port, and a sentinel that we leave on the CLI port, a random price for an address that nobody uses
(go-livepeer-cli.md 3.2). Where neither can be seen the watch is blind: there, being gone for a moment and the word of
a writer (`suspect`) count as a new start.

A new start counts only when the service port says that it is healthy, since the CLI port answers long before it
(go-livepeer-cli.md 5).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
import time
from dataclasses import dataclass, replace

import structlog

from orchd.advertise.board import Board
from orchd.advertise.settings import OrchestratorSettings
from orchd.domain.offer import NodeStatus, RegistryName
from orchd.domain.ports import Store
from orchd.errors import Code
from orchd.node.client import Answer, NodeClient, NodeError
from orchd.reasons import one_line

log = structlog.get_logger("orchd.node.watch")

VERSION_CHARS = 80
"""Of what the node says its version is, are shown."""

ADDRESS_NAME = "sentinel address"
"""Under which the store keeps it."""


@dataclass(frozen=True, slots=True)
class Process:
    """What we know a process of the node by.

    Attributes:
        certificate: fingerprint; None = plain HTTP.
        sentinel: the price that we have left there; None = none (yet).
    """

    certificate: str | None
    sentinel: str | None

    @property
    def blind(self) -> bool:
        """Another process would look the same."""
        return self.certificate is None and self.sentinel is None


@dataclass(frozen=True, slots=True)
class Sight:
    """What one look has shown.

    Attributes:
        prices: of the CLI port's status, by address; None = it did not answer.
    """

    certificate: str | None
    prices: dict[str, str] | None
    version: str


def is_new(known: Process | None, sight: Sight, address: str, *, gone: bool, suspected: bool) -> bool:
    """Return whether this is another process than the one that we know.

    Args:
        known: None = none was seen yet.
        gone: it could not be reached between.
    """
    if known is None:
        return True
    if known.sentinel is not None and sight.prices is not None:
        return sight.prices.get(address) != known.sentinel  # a proxy may change its certificate when it likes
    return sight.certificate != known.certificate or (known.blind and (gone or suspected))


class NodeWatch:
    """Sets `board.node`. Make it inside a running loop."""

    def __init__(self, client: NodeClient, board: Board, store: Store, settings: OrchestratorSettings) -> None:
        self._client = client
        self._board = board
        self._store = store
        self._settings = settings
        self._address = ""
        self._known: Process | None = None
        self._started_at = 0.0
        self._suspected = asyncio.Event()

    def suspect(self) -> None:
        """A writer has learned that the node lost something: look at once."""
        self._suspected.set()

    async def run(self) -> None:
        """Look until cancelled.

        Raises:
            StoreError: the sentinel's address can't be kept.
        """
        self._address = await self._sentinel_address()
        while True:
            suspected = self._suspected.is_set()
            self._suspected.clear()
            try:
                status = await self._look(suspected)
            except NodeError as exc:
                status = self._down(exc)
            _log_change(self._board.node, status)
            self._board.saw(status)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._settings.poll_s):
                    await self._suspected.wait()

    async def _look(self, suspected: bool) -> NodeStatus:
        """Return how the node stands.

        Raises:
            NodeError: it can't be used.
        """
        await self._healthy()
        sight = Sight(await self._client.fingerprint(), *await self._cli_status())
        before = self._board.node
        gone = not before.up
        # Several writers may learn of one loss, and some of them late.
        settled = asyncio.get_running_loop().time() - self._started_at > self._settings.call_timeout_s
        if is_new(self._known, sight, self._address, gone=gone, suspected=suspected and settled):
            return await self._started(sight)
        assert self._known is not None
        self._known = replace(self._known, certificate=sight.certificate)
        if self._known.sentinel is None and sight.prices is not None:
            self._known = replace(self._known, sentinel=await self._set_sentinel())
        on_chain = before.on_chain if before.on_chain is not None else await self._on_chain()
        since = time.time() if gone else before.since
        return replace(
            before,
            up=True,
            since=since,
            version=sight.version or before.version,
            on_chain=on_chain,
            error="",
            code=None,
        )

    async def _started(self, sight: Sight) -> NodeStatus:
        """Return the status of a process that was not seen before."""
        await self._healthy()  # The CLI port may be ahead of it.
        certificate = await self._client.fingerprint()
        registries = await self._registries()
        on_chain = await self._on_chain()
        self._known = Process(certificate, await self._set_sentinel())
        self._started_at = asyncio.get_running_loop().time()
        return NodeStatus(True, self._board.node.epoch + 1, time.time(), on_chain, sight.version, registries)

    def _down(self, exc: NodeError) -> NodeStatus:
        before = self._board.node
        since = time.time() if before.up else before.since
        return replace(before, up=False, since=since, error=exc.message, code=exc.code)

    async def _healthy(self) -> None:
        answer = await self._client.service("GET", "/healthz")
        if answer.status != 200:
            url = self._settings.service_url
            raise NodeError(f"cannot use go-livepeer at {url}: /healthz answered {answer.status}")

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

    async def _registries(self) -> tuple[RegistryName, ...]:
        """Return those of the settings, or those that the node speaks.

        Raises:
            NodeError: it did not say.
        """
        if self._settings.registries != ("auto",):
            return tuple(name for name in RegistryName if name in self._settings.registries)
        spoken = []
        # Unregistering what was never there changes nothing, and is refused or not by the secret only (byoc.md 2.4).
        name = f"orchd-probe-{secrets.token_hex(8)}".encode()
        byoc = await self._client.service(
            "POST", "/capability/unregister", body=name, authorization=self._client.secret
        )
        if _spoken(byoc):
            spoken.append(RegistryName.BYOC)
        # A heartbeat without a runner_url is refused before anybody asks for the secret (live-runner.md 2.1), while
        # discovery also answers for runners of another kind (1).
        live = await self._client.service("POST", "/runners/heartbeat", body=json.dumps({"app": "orchd"}).encode())
        if _spoken(live) and (self._settings.live_runner == "dynamic" or self._settings.cli_url):
            spoken.append(RegistryName.LIVE_RUNNER)
        return tuple(spoken)


def _spoken(answer: Answer) -> bool:
    """Return whether a route is there."""
    if answer.status >= 500:
        raise NodeError(f"cannot ask go-livepeer what it speaks: it answered {answer.status}", code=Code.NODE_REFUSED)
    return answer.status != 404


def _log_change(before: NodeStatus, now: NodeStatus) -> None:
    if now.epoch != before.epoch:
        log.info(
            "node_started",
            epoch=now.epoch,
            version=now.version,
            on_chain=now.on_chain,
            registries=[str(name) for name in now.registries],
        )
    elif now.up and not before.up:
        log.info("node_back")
    elif (now.up, now.error) != (before.up, before.error):
        log.warning("node_down", error=now.error, code=now.code)
