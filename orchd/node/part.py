"""The node program beside orchd, as a part: how it is asked, and what proves it to us."""

from __future__ import annotations

import structlog

from orchd.database.database import HasDatabase
from orchd.domain.ids import ModelKey
from orchd.domain.model import Secret
from orchd.domain.stores import SecretStore
from orchd.node.client import NodeClient
from orchd.node.metrics import NodeCollector
from orchd.node.ports import NodeAccess
from orchd.node.route_secrets import KEY_NAME, RouteSecrets, is_key, new_key
from orchd.node.secret_file import SETTING, SecretFile
from orchd.node.tables import PROGRAM_NAME, SecretTable, program_of
from orchd.node.watch import NodeWatch
from orchd.part import Context, Part, Roots
from orchd.settings.secrets import SecretInUse, read_secret_text

log = structlog.get_logger("orchd.node")


class NodePart(Part):
    """Knows the node, and tells it nothing: what it is told is the work of the parts above.

    Args:
        secrets: files with secrets that may be read again, by the setting that names them; it adds its own.

    Attributes:
        access: from `open` on.
    """

    name = "node"
    access: NodeAccess

    def __init__(self, context: Context, database: HasDatabase, secrets: dict[str, SecretInUse]) -> None:
        self._context = context
        self._database = database
        self._client: NodeClient | None = None
        self._secret_file: SecretFile | None = None
        self._secrets = secrets

    async def open(self) -> None:
        context, rules = self._context, self._context.settings.orchestrator
        text = read_secret_text(SETTING, rules.secret_file, context.env)
        secret = text.secret if text else None
        store = SecretTable(self._database.database)
        tokens = RouteSecrets(await _route_key(store), rules.token_rotation_h * 3600)
        self._client = client = NodeClient(rules, secret, context.names, context.lag)
        in_use = self._secrets[SETTING] = SecretInUse(secret, self._use_secret)
        self._secret_file = SecretFile(rules.secret_file, context.env, text, in_use)
        watch = NodeWatch(client, store, rules)
        last = program_of(await store.secret(PROGRAM_NAME))
        self.access = NodeAccess(client, tokens, store, watch, secret_file=self._secret_file.seen, last_program=last)
        NodeCollector(context.metrics, lambda: watch.status)

    @property
    def tokens(self) -> RouteSecrets:
        """What the node shows to prove that it has sent a job."""
        return self.access.tokens

    def healthy(self, key: ModelKey) -> bool:
        """Return whether the node is to take a model for healthy."""
        return key in self.access.healthy

    def roots(self) -> Roots:
        return {"secret file": self._secret_file.run()} if self._secret_file and self._secret_file.seen.path else {}

    def _use_secret(self, secret: Secret | None) -> None:
        assert self._client is not None
        self._client.use_secret(secret)
        self.access.secret_file.changed.emit()

    async def close(self) -> None:
        if self._secret_file is not None:
            self._secret_file.close()
        if self._client is not None:
            await self._client.close()


async def _route_key(store: SecretStore) -> str:
    """Return the key of the routes' tokens. The node keeps those, so the key must outlive us."""
    if not is_key(key := await store.secret(KEY_NAME) or ""):
        if key:
            log.warning("route_key_unreadable", next="a new one is made, and the node gets new tokens")
        key = new_key()
        await store.save_secret(KEY_NAME, key)
    return key
