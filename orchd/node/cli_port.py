"""What go-livepeer's CLI port tells: version, chain, and whether the process is still the one that has our sentinel.

Livepeer Node has no such port. Whatever answers there beside it is another program's, and is not asked.
"""

from __future__ import annotations

import re
import secrets

import structlog

from orchd.domain.offer import NodeProgram
from orchd.domain.stores import SecretStore
from orchd.node.ports import NodeCalls, NodeError, Probed
from orchd.reasons import one_line

log = structlog.get_logger("orchd.node.watch")

VERSION_CHARS = 80
"""How much is shown of what the node says its version is."""

ADDRESS_NAME = "sentinel address"
"""The name under which the store keeps the sentinel's address."""


class CliPort:
    """Asks the CLI port. What it does not say is not known: nothing depends on it alone.

    Attributes:
        address: of the sentinel; from `open` on.
        note: why it is not used although it is set, for people; empty = it is used, or not set.
    """

    def __init__(self, client: NodeCalls, store: SecretStore, url: str) -> None:
        self.address = ""
        self.note = ""
        self._url = url
        self._client = client
        self._store = store

    async def open(self) -> None:
        """Take the sentinel's address from the store, or make one.

        Raises:
            StoreError: it can't be kept.
        """
        address = await self._store.secret(ADDRESS_NAME)
        if address is None or re.fullmatch(r"0x[0-9a-f]{40}", address) is None:
            address = "0x" + secrets.token_hex(20)
            await self._store.save_secret(ADDRESS_NAME, address)
        self.address = address

    async def status(self, node: Probed) -> tuple[dict[str, str] | None, str]:
        """Return the base prices by address, and the version; None and empty where there is no usable CLI port."""
        if not self._url:
            return None, ""
        if node.program is not NodeProgram.GO_LIVEPEER:
            self.note = f"orchestrator.cli_url is not used: {node.program.in_words} has no CLI port"
            return None, ""
        try:
            status = (await self._client.cli("GET", "/status")).json()
            found = dict(status["BroadcasterPrices"]), one_line(str(status["Version"]), VERSION_CHARS)
        except (NodeError, KeyError, TypeError, ValueError) as exc:
            said = exc.message if isinstance(exc, NodeError) else "its /status is not that of a go-livepeer"
            self.note = f"orchestrator.cli_url is not used: {said}"
            log.debug("node_cli_failed", error=str(exc))
            return None, ""
        self.note = ""
        return found

    async def on_chain(self, node: Probed) -> bool | None:
        """Return whether the node is on chain; None if it can't be told."""
        if node.program is not NodeProgram.GO_LIVEPEER:
            return None
        try:
            answer = await self._client.cli("GET", "/EthChainID")
        except NodeError:
            return None
        return answer.text() != "0" if answer.status == 200 and answer.text().isdecimal() else None

    async def set_sentinel(self) -> str | None:
        """Leave a new one and return it; None = the CLI port took none."""
        sentinel = str(1 + secrets.randbelow(2**31))
        form = {"broadcasterEthAddr": self.address, "pricePerUnit": sentinel, "pixelsPerUnit": "1"}
        try:
            answer = await self._client.cli("POST", "/setPriceForBroadcaster", form=form)
        except NodeError:
            return None
        return sentinel if answer.status == 200 else None
