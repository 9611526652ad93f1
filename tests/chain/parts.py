"""The real parts over a local chain: RPC servers by HTTP, facts in a database, nothing read unless a test says so."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchd.chain.part import ChainPart
from orchd.chain.rpc_chain import RpcChain
from orchd.database.part import DatabasePart
from orchd.domain.chain import ChainStatus
from orchd.domain.state import Snapshot
from orchd.exposition import MetricsRegistry
from orchd.lag import LoopLag
from orchd.names import Names
from orchd.part import Context
from orchd.rpc.part import RpcPart
from orchd.settings.secrets import SecretInUse
from orchd.settings.tree import Settings
from tests.doubles.livepeer_chain.chain import LocalChain
from tests.doubles.rpc.proxy import RpcProxy
from tests.fakes.history import FakeHistory

US = b"\x11" * 20


@dataclass
class ChainParts:
    """What was opened.

    Attributes:
        secrets: as `orchd reload` has them.
    """

    rpc: RpcPart
    part: ChainPart
    history: FakeHistory
    secrets: dict[str, SecretInUse]
    metrics: MetricsRegistry

    @property
    def chain(self) -> RpcChain:
        return self.part.chain

    @property
    def status(self) -> ChainStatus:
        status = self.part.show(Snapshot()).chain
        assert status is not None
        return status


def urls_file(folder: Path, servers: Sequence[RpcProxy]) -> Path:
    """Write the file with the URLs of these servers."""
    folder.mkdir(exist_ok=True)
    file = folder / "rpc"
    file.write_text("".join(f"{server.url}\n" for server in servers))
    return file


@asynccontextmanager
async def opened(folder: Path, chain: LocalChain, *servers: RpcProxy, **rules: Any) -> AsyncIterator[ChainParts]:
    """Open the parts, with these servers in this order; and close them."""
    of_chain = {
        "id": chain.id,
        "rpc_url_file": str(urls_file(folder, servers)),
        "controller": chain.controller,
        "orchestrator": f"0x{US.hex()}",
        **rules,
    }
    settings = Settings.model_validate({"state_dir": str(folder), "chain": of_chain})
    metrics, names = MetricsRegistry(), Names()
    context = Context(settings, {}, folder, metrics, LoopLag(), names)
    history, secrets = FakeHistory(), dict[str, SecretInUse]()
    database, rpc = DatabasePart(context), RpcPart(context, secrets)
    part = ChainPart(context, database, history, rpc)
    try:
        for each in (database, rpc, part):
            await each.open()
        yield ChainParts(rpc, part, history, secrets, metrics)
    finally:
        for each in (part, rpc, database):
            await each.close()
        await names.close()
