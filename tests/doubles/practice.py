"""For trying an orchestrator on one machine: Livepeer's contracts on a local chain, and the signer of one payer.

`python -m tests.doubles.practice --orchestrator ADDRESS --payer KEYSTORE --password-file FILE`: the orchestrator is
active, the payer has deposit and reserve, and a block comes every 12 s, as on Ethereum. It says when it is ready, and
ends by a signal. Nothing of it is worth anything.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
from contextlib import AsyncExitStack
from pathlib import Path

from eth_account import Account

from orchd.chain.contracts import ARBITRUM_ONE
from tests.doubles.gateway.purse import Funds
from tests.doubles.livepeer_chain.chain import LocalChain
from tests.doubles.rpc.proxy import RpcProxy
from tests.doubles.signer.rules import LIVEPEER_NODE
from tests.doubles.signer.signer import RemoteSigner, SignerSettings
from tests.tickets.validation.sender import Signer

ETHER = 10**18
DEPOSIT, RESERVE = 10 * ETHER, 5 * ETHER
BLOCK_S = 12


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python -m tests.doubles.practice", description=__doc__, allow_abbrev=False)
    flag = made.add_argument
    flag("--orchestrator", required=True, help="address of the orchestrator that becomes active")
    flag("--payer", required=True, type=Path, help="keystore (JSON) of the account that pays")
    flag("--password-file", required=True, type=Path, help="file with its password")
    flag("--rpc-port", type=int, default=8545, help="port of the RPC server (default: 8545)")
    flag("--signer", default="127.0.0.1:8937", help="IP and port of the payer's signer (default: 127.0.0.1:8937)")
    return made


async def run(given: argparse.Namespace) -> None:
    """Run until SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    key = Account.decrypt(json.loads(given.payer.read_text()), given.password_file.read_text().rstrip("\n"))
    payer = Signer(bytes(key))
    async with AsyncExitStack() as running:
        chain = await running.enter_async_context(LocalChain.started(ARBITRUM_ONE))
        await chain.activate(bytes.fromhex(given.orchestrator.removeprefix("0x")))
        await chain.fund(payer.address, DEPOSIT, RESERVE)
        await chain.anvil.call("evm_setIntervalMining", BLOCK_S)

        async def funds() -> Funds:
            return await chain.funds(payer.address)

        rpc = await running.enter_async_context(RpcProxy.serving(chain.url, given.rpc_port))
        signer = RemoteSigner(SignerSettings(LIVEPEER_NODE, payer, listen=given.signer), funds)
        await running.enter_async_context(signer)
        print(f"RPC {rpc.url}, chain {chain.id}, controller {chain.controller}, signer {signer.url}", flush=True)
        await stopped.wait()


if __name__ == "__main__":
    asyncio.run(run(parser().parse_args()))
