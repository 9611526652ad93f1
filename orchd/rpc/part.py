"""The RPC servers, as a part: what reads the chain or a price feed asks them through it."""

from __future__ import annotations

from orchd.part import Context, Part
from orchd.rpc.client import HttpRpcClient
from orchd.rpc.metrics import RpcCollector
from orchd.rpc.servers import RpcServers
from orchd.rpc.urls import SETTING, rpc_urls
from orchd.settings.secrets import SecretInUse, read_secret


class RpcPart(Part):
    """Knows the RPC servers, and asks none by itself.

    Args:
        secrets: files with secrets that may be read again, by the setting that names them.

    Attributes:
        rpc: from `open` on.
    """

    name = "rpc"
    rpc: RpcServers

    def __init__(self, context: Context, secrets: dict[str, SecretInUse]) -> None:
        self._context = context
        self._secrets = secrets
        self._client: HttpRpcClient | None = None

    async def open(self) -> None:
        context, rules = self._context, self._context.settings.chain
        text = read_secret(SETTING, rules.rpc_url_file, context.env, lines=True)
        self._client = HttpRpcClient(context.names)
        self.rpc = servers = RpcServers(rpc_urls(text), self._client, rules.id, rules.call_timeout_s)
        self._secrets[SETTING] = SecretInUse(text, lambda now: servers.use(rpc_urls(now)), lines=True)
        RpcCollector(context.metrics, lambda: servers.servers)

    async def close(self) -> None:
        if self._client is not None:
            await self._client.close()
