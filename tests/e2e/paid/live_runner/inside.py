"""orchd, whole, in the test's process: real sockets with TLS, the real store, and a clock that jumps.

Clients, signers, the container and the RPC server live on the same loop (`tests/chaos/jumping.py`), so minutes pass in
no time, and whatever happens between two of their steps is the same each time.
"""

from __future__ import annotations

import asyncio
import base64
import json
import sqlite3
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping, MutableMapping
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType
from typing import Any

import structlog

from orchd import tasks
from orchd.app import App
from orchd.part import Context, Part
from orchd.rpc.part import RpcPart
from orchd.rpc.servers import RpcServers
from orchd.rpc.urls import rpc_urls
from orchd.runtime.part import RuntimesPart
from orchd.settings.tree import Settings
from orchd.tickets.ledger.part import LedgerPart
from orchd.tickets.ledger.ports import LedgerKey
from orchd.tickets.validation.messages import PaymentMessage
from orchd.tickets.validation.schemes import LIVE_RUNNER
from orchd.tickets.validation.wire import decode
from tests.chaos.in_task import OrchdInTask
from tests.chaos.jumping import JumpingLoop
from tests.doubles.gateway.purse import Funds
from tests.doubles.sdk_client.client import Runner as Listed
from tests.doubles.sdk_client.client import SdkClient
from tests.doubles.sdk_client.funding import SignerAccess
from tests.doubles.shared.caller import Answer
from tests.doubles.signer.rules import LIVEPEER_NODE, Rules
from tests.doubles.signer.signer import RemoteSigner, SignerSettings
from tests.e2e.paid.chain import DEPOSIT, GATEWAY, OTHER, RESERVE, US
from tests.e2e.paid.live_runner.models import app_of, entries, key_of
from tests.e2e.paid.live_runner.payer import Payer
from tests.fakes.rpc import FakeChain, FakeFunds, FakeRpcClient, FakeRpcServer
from tests.ports import free_port
from tests.runners import scripted
from tests.test_app import NoRuntimes
from tests.tickets.validation.sender import Signer, checksummed

CHAIN_ID = 31337
BLOCK_S = 12.0
"""Of the L1."""
CHAIN_READ_S = 66.0
"""After so long nothing is used any more that was read before."""
TICKETS = "orchd_tickets_total{"
BOUND_S = 3600.0
"""Seconds of the loop; nothing that is waited for takes as long."""


def funded() -> FakeChain:
    """Return a chain on which two accounts have deposit and reserve."""
    payers = {account.address: FakeFunds(deposit=DEPOSIT, reserve=RESERVE) for account in (GATEWAY, OTHER)}
    return FakeChain(payers=payers)


class Container(scripted.Runner):
    """The scripted runner on a port of this loop."""

    def __init__(self) -> None:
        super().__init__({})
        self._server: asyncio.Server | None = None

    async def open(self) -> str:
        """Serve, and return the base URL."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: scripted.Connection(self), "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        assert self._server is not None
        self._server.close()


@dataclass
class Shop(OrchdInTask):
    """An orchd that sells, what stands behind it, and who comes to it.

    Attributes:
        url: of its public listener.
        rpc: its RPC server, with the chain behind it.
        signers: by account, once somebody has asked for one.
        log: its last lines.
    """

    folder: Path
    settings: Mapping[str, Any]
    container: Container
    rpc: FakeRpcServer
    url: str
    log: deque[MutableMapping[str, Any]] = field(default_factory=lambda: deque(maxlen=500))
    app: App | None = None
    _task: asyncio.Task[None] | None = None

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    @property
    def chain(self) -> FakeChain:
        return self.rpc.chain

    # Its life.

    async def start(self) -> None:
        """Start it, and wait until it serves."""
        rpc = self.rpc

        class OneRpcServer(Part):
            name = "rpc"

            def __init__(self, context: Context, _secrets: object) -> None:
                client, rules = FakeRpcClient(one=rpc), context.settings.chain
                self.rpc = RpcServers(rpc_urls(client.urls), client, rules.id, rules.call_timeout_s)

        instead = {RuntimesPart: NoRuntimes, RpcPart: OneRpcServer}
        self.app = app = App(Settings.model_validate(self.settings), {}, instead)
        self._task = task = tasks.spawn(app.run(), name="orchd")
        await self.until("it has started, or ended", lambda: task.done() or app.accepting)
        if task.done():
            task.result()
        await self.until("its models are ready", lambda: all(each.ready for each in app.snapshot().models.values()))

    def active(self, name: str) -> int:
        """Return how many slots of a model are taken."""
        return self.slots_taken(key_of(name))

    def keep(self, _logger: object, _level: str, event: MutableMapping[str, Any]) -> str:
        """Keep a line of its log; after structlog's processors."""
        self.log.append(dict(event))
        raise structlog.DropEvent

    def logged(self, event: str) -> list[MutableMapping[str, Any]]:
        """Return its lines of this event."""
        return [line for line in self.log if line["event"] == event]

    async def until(self, what: str, holds: Callable[[], object], bound_s: float | Fraction = BOUND_S) -> None:
        """Wait until it is so."""
        end = self.now + bound_s
        while not holds():
            assert self.now < end, f"never came true: {what}; {list(self.log)[-10:]}"
            await asyncio.sleep(0.05)

    # What it has taken.

    def tickets(self) -> int:
        """Return how many tickets it has taken since its start."""
        assert self.app is not None
        lines = self.app._context.metrics.render().decode().splitlines()
        return int(sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(TICKETS)))

    def credit(self, manifest: str, account: Signer = GATEWAY) -> Fraction:
        """Return what is in hand for a session, in wei."""
        assert self.app is not None
        key = LedgerKey(LIVE_RUNNER.name, account.address, manifest)
        return self.app.part(LedgerPart).ledger.balance(key).wei

    @contextmanager
    def full_disk(self) -> Iterator[None]:
        """Refuse everything that the ledger wants to write, as a disk does that is full."""
        with closing(sqlite3.connect(self.folder / "state" / "orchd.db")) as database:
            found = database.execute("SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'ledger%'")
            tables = [name for (name,) in found]
            for table in tables:
                database.execute(
                    f"CREATE TRIGGER full_{table} BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'full'); END"
                )
            yield
            for table in tables:
                database.execute(f"DROP TRIGGER full_{table}")

    # Time, and the chain.

    def unix_time(self) -> int:
        return int(time.time())

    def step_clock(self, seconds: float) -> None:
        """Put the machine's clock forward (or back)."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, JumpingLoop)
        loop.stepped += seconds

    async def sees_the_chain(self) -> None:
        """Wait until it has read the chain again, and what it knows of payers is too old to be used."""
        await asyncio.sleep(CHAIN_READ_S)

    async def within_3_s(self, asked: Coroutine[Any, Any, Answer]) -> Answer:
        """Return an answer, which must come in this time."""
        began = self.now
        answer = await asked
        assert self.now - began <= 3
        return answer

    async def let_blocks_come(self) -> None:
        """Let the L1 go on as long as this runs."""
        while True:
            await asyncio.sleep(BLOCK_S)
            self.chain.l1_block += 1

    def new_round(self) -> None:
        """Begin the next round."""
        self.chain.round += 1
        self.chain.hashes[self.chain.round] = self.chain.round

    def fund(self, account: Signer) -> FakeFunds:
        """Give an account deposit and reserve, and return them."""
        self.chain.payers[account.address] = its = FakeFunds(deposit=DEPOSIT, reserve=RESERVE)
        return its

    async def funds(self, account: Signer = GATEWAY) -> Funds:
        """Return what an account sees of itself."""
        chain, its = self.chain, self.chain.payers[account.address]
        hashed = chain.hashes[chain.round].to_bytes(32, "big")
        return Funds(chain.l1_block, chain.round, hashed, its.deposit, its.reserve, its.withdraw_round)

    # Who stands behind it, and who comes.

    async def container_fails(self) -> None:
        """Let the container be ill, and wait until no model of it is ready."""
        self.container.script["health_code"] = 500
        app = self.app
        assert app is not None
        await self.until("it is seen", lambda: not any(each.ready for each in app.snapshot().models.values()))

    def payer(self, account: Signer = GATEWAY) -> Payer:
        return Payer(account, self.url)

    @asynccontextmanager
    async def client(self, account: Signer = GATEWAY, rules: Rules = LIVEPEER_NODE) -> AsyncIterator[PayingClient]:
        """Run a signer of this account, which lists this orchd if it can, and return an SDK that pays by it."""

        async def funds() -> Funds:
            return await self.funds(account)

        settings = SignerSettings(rules, account, receivers=(self.url,))
        signer = RemoteSigner(settings, funds, now_ns=lambda: int(time.time() * 10**9))
        async with signer:
            yield PayingClient(SdkClient(SignerAccess(signer.url)), signer, self.url)


@dataclass(frozen=True)
class PayingClient:
    """The SDK's double, and its signer."""

    sdk: SdkClient
    signer: RemoteSigner
    url: str

    async def find(self, name: str) -> Listed:
        """Return a model as discovery lists it."""
        [found] = await self.sdk.discover(app_of(name), [self.url])
        return found

    def nonces(self) -> dict[bytes, list[int]]:
        """Return which it has used, by the commitment of the terms that it has paid on, in order."""
        used: dict[bytes, list[int]] = {}
        for each in self.signer.paid:
            payment = decode(PaymentMessage, base64.b64decode(each["payment"]))
            assert payment.ticket_params is not None
            tickets = used.setdefault(payment.ticket_params.recipient_rand_hash, [])
            tickets += (ticket.sender_nonce for ticket in payment.ticket_sender_params)
        return used


@asynccontextmanager
async def shop(folder: Path, more: Mapping[str, Any] = MappingProxyType({}), **fields: Any) -> AsyncIterator[Shop]:
    """Run an orchd that sells the models of `models.py`.

    Args:
        more: settings by section, in addition to those that it needs.
        fields: of each entry of aiModels.json.
    """
    container, port = Container(), free_port()
    file = folder / "aiModels.json"
    file.write_text(json.dumps(entries(await container.open(), **fields)))
    said: dict[str, Any] = {
        "models_file": str(file),
        "state_dir": str(folder / "state"),
        "shutdown_drain_s": 5,
        "jobs": {"listen": [f"127.0.0.1:{free_port()}"]},
        "admin": {"listen": "127.0.0.1:0"},
        "hooks": {"order": ["tickets"]},
        "public": {
            "listen": [f"127.0.0.1:{port}"],
            "url": f"https://127.0.0.1:{port}",
            "doors": ["live-runner"],
            "runner_listen": f"127.0.0.1:{free_port()}",
        },
        "chain": {
            "id": CHAIN_ID,
            "controller": "0x" + "c0" * 20,
            "orchestrator": checksummed(US),
            "rpc_url_file": "here",
        },
    }
    for section, changes in more.items():
        said[section] = {**said.get(section, {}), **changes} if isinstance(changes, Mapping) else changes
    made = Shop(folder, said, container, FakeRpcServer(funded(), CHAIN_ID), f"https://127.0.0.1:{port}")
    before = structlog.get_config()
    structlog.configure(processors=[made.keep], cache_logger_on_first_use=False)
    try:
        await made.start()
        yield made
    finally:
        await made.stop()
        structlog.configure(**before)
        await container.close()
