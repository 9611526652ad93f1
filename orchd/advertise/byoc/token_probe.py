"""Is a capability still in the node's BYOC registry, and how many slots would it give out? A token tells, more or less.

Source: docs/protocol/byoc.md, 3 and 4.3. The node computes a price and ticket terms for it, so it is asked rarely.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import secrets
from typing import Any

from orchd.advertise.byoc.facts import TokenSighting
from orchd.domain.stores import SecretStore
from orchd.errors import Code
from orchd.node.ports import NodeAnswer, NodeCalls, NodeError

KEY_NAME = "probe key"
"""The name under which the store keeps the key of the account that asks. It owns nothing and never will."""


class TokenProbe:
    """Asks with an account of our own."""

    def __init__(self, client: NodeCalls, store: SecretStore) -> None:
        self._client = client
        self._store = store
        self._signed = ""

    async def ask(self, name: str, *, on_chain: bool | None, free_of_charge: bool) -> TokenSighting:
        """Return what a token for `name` shows.

        Args:
            on_chain: None = not known; the question is signed then too.
            free_of_charge: it is known that the node charges 0 wei per second for it.

        Raises:
            NodeError: no answer, or one that says nothing about the capability.
            StoreError: no key can be kept.
        """
        header = _unsigned() if on_chain is False else await self._signature()
        answer = await self._client.service(
            "GET", "/process/token", headers={"Livepeer-Eth-Address": header, "Livepeer-Capability": name}
        )
        return read(answer, free_of_charge=free_of_charge)

    async def _signature(self) -> str:
        if not self._signed:
            key = await self._store.secret(KEY_NAME)
            if key is None or re.fullmatch(r"[0-9a-f]{64}", key) is None:
                key = secrets.token_hex(32)
                await self._store.save_secret(KEY_NAME, key)
            # In a thread: the import alone takes a second.
            self._signed = await asyncio.to_thread(signed, key)
        return self._signed


def read(answer: NodeAnswer, *, free_of_charge: bool) -> TokenSighting:
    """Return what the node's answer to a token request shows; see `TokenProbe.ask`.

    "Full" and "gone" look alike where nothing is charged, and an account without a reserve, as ours is, is only told
    of what never was there.
    """
    if answer.status in (400, 503) and "insufficient sender reserve" in answer.text():
        return TokenSighting(None, None)
    token = answer.json() if answer.status == 200 else None
    if not isinstance(token, dict):
        raise NodeError(
            f"cannot ask go-livepeer for a token: it answered {answer.status} {answer.text()!r}",
            code=Code.NOT_SPOKEN if answer.status == 404 else Code.NODE_REFUSED,
        )
    free = token.get("available_capacity", 0)
    if not isinstance(free, int):
        raise NodeError(f"cannot read go-livepeer's token: {answer.text()!r}", code=Code.NODE_REFUSED)
    if free > 0:
        return TokenSighting(True, free)
    # Off-chain there are no ticket terms, nor ever a price.
    if "ticket_params" in token and not free_of_charge and not _charged(token):
        return TokenSighting(False, None)
    return TokenSighting(None, 0)


def _charged(token: dict[str, Any]) -> bool:
    price = token.get("price")
    return isinstance(price, dict) and bool(price.get("pricePerUnit"))


def _unsigned() -> str:
    """Return a header that an off-chain node takes: well-formed is enough."""
    return _header("0x" + "00" * 20, "0x" + "00" * 65)


def signed(key: str) -> str:
    """Return the header `Livepeer-Eth-Address` of the account of `key` (32 bytes as hex).

    Source: docs/protocol/byoc.md, 3.1.
    """
    # Not eth-account: with it comes a package that raises the recursion limit past what the stack holds.
    from eth_keys.datatypes import PrivateKey
    from eth_utils.crypto import keccak

    private = PrivateKey(bytes.fromhex(key))
    address = private.public_key.to_checksum_address()
    # The keccak of the address text is signed as an Ethereum message of 32 bytes (EIP-191).
    digest = keccak(b"\x19Ethereum Signed Message:\n32" + keccak(text=address))
    signature = private.sign_msg_hash(digest).to_bytes()
    return _header(address, f"0x{signature[:64].hex()}{signature[64] + 27:02x}")


def _header(address: str, signature: str) -> str:
    return base64.b64encode(json.dumps({"addr": address, "sig": signature}).encode()).decode()
