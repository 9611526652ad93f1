"""What is wrong with the settings of the chain, for the start and for `orchd check`. Reads no file. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from orchd.chain.addresses import checksummed, is_mistyped
from orchd.chain.contracts import ARBITRUM_CONTROLLER, ARBITRUM_ONE
from orchd.chain.settings import ChainSettings


def chain_doubts(rules: ChainSettings) -> Iterator[tuple[str, str]]:
    """Yield the name of each setting with which orchd does not start, and why. Nothing where no chain is read."""
    if not rules.id:
        return
    if not rules.rpc_url_file:
        yield (
            "chain.rpc_url_file",
            "empty, so that there is no RPC server to read the chain from: name a file with the URL of one",
        )
    if not rules.orchestrator:
        yield (
            "chain.orchestrator",
            "empty, so that tickets would be paid to nobody: give the address that is registered",
        )
    if not rules.controller and rules.id != ARBITRUM_ONE:
        yield "chain.controller", f"empty, and orchd knows that of Arbitrum One alone: give that of chain {rules.id}"
    for name, address in (("chain.orchestrator", rules.orchestrator), ("chain.controller", rules.controller)):
        if address and is_mistyped(address):
            right = checksummed(bytes.fromhex(address[2:]))
            yield name, f"{address} has a wrong checksum, so a digit may be wrong: these digits are written {right}"


def controller_of(rules: ChainSettings) -> str:
    """Return the address of the Controller."""
    return rules.controller or ARBITRUM_CONTROLLER
