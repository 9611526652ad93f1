"""What `orchd down` does where no daemon runs about what one has offered at the node: it takes it back."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from orchd.errors import OrchdError
from orchd.node.tables import SecretTable
from orchd.settings.secrets import read_secret
from orchd.settings.tree import Settings


async def take_back_offers(
    settings: Settings, env: Mapping[str, str], store: SecretTable, tell: Callable[[str], None]
) -> None:
    """Have the node offer nothing of ours any more. What can't be taken back is told, with the reason.

    Args:
        store: where the daemon kept what it had told the node.
    """
    from orchd.advertise import registries  # It is of no use where no node was ever told anything.

    kept, rules = await store.secrets(), settings.orchestrator
    modules = {name: registries.module(name, "left_behind") for name in registries.names()}
    left = {name: module for name, module in modules.items() if module.left(kept)}
    if not left:
        return
    if not rules.enabled:
        tell(
            "cannot take back what was offered at the node: orchestrator.service_url is not set here; give the "
            "daemon's settings, too"
        )
        return
    from orchd.node.client import NodeClient

    try:
        client = NodeClient(rules, read_secret("orchestrator.secret_file", rules.secret_file, env))
    except OrchdError as exc:
        tell(f"cannot take back what was offered at the node: {exc.message}")
        return
    try:
        await client.find_scheme()
        for name, module in left.items():
            try:
                async for what in module.take_back(client, store, kept):
                    tell(f"withdrawn from the node: {what} ({name})")
            except OrchdError as exc:
                tell(f"{exc.message}; the node may go on offering it ({name})")
    finally:
        await client.close()
