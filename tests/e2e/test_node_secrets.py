"""What orchd and the node share stays between them: no log, page, metric, command or error shows it."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from orchd.domain.ids import ModelKey
from orchd.node.route_secrets import KEY_NAME, RouteSecrets
from tests.e2e.beside import SECRET, NodeProcess, orchd_beside
from tests.e2e.daemon import Daemon
from tests.e2e.scripts import Entry, process

KEY = ModelKey("text-to-image", "shared")
ANOTHER = "a-secret-that-the-node-does-not-know"
PAGES = ("/", "/healthz", "/readyz", "/status", "/metrics")


def kept(daemon: Daemon) -> set[str]:
    """Return what the store keeps in confidence, taken to pieces, and the path segments that follow from it."""
    with closing(sqlite3.connect(daemon.state / "orchd.db")) as db:
        rows = dict(db.execute("SELECT name, value FROM secrets WHERE name LIKE '%key%' OR name LIKE 'heartbeat%'"))
    pieces = {piece for value in rows.values() for piece in re.findall(r"[0-9a-z]{32,}", value)}
    return pieces | {RouteSecrets(rows[KEY_NAME], 3600).segment(KEY.slug).value}


@pytest.fixture
def entry() -> Entry:
    return process("shared", {}, price_per_unit=1, warm=True)


async def test_nothing_that_the_node_and_orchd_share_is_shown(tmp_path: Path, instance: str, entry: Entry) -> None:
    async with (
        NodeProcess(tmp_path / "node", "--use-live-runners") as node,
        orchd_beside(node, tmp_path / "orchd", instance, entry, log__level="debug") as daemon,
    ):
        name = str(KEY)

        async def offered() -> bool:
            return name in await node.runners() and name in await node.capabilities()

        await daemon.until("it is offered", offered)
        await daemon.until("orchd keeps key, segment and heartbeat secret", lambda: len(kept(daemon)) >= 3)
        secrets = {(await node.capabilities())[name]["token"], *kept(daemon), SECRET}
        assert len(secrets) >= 5, "token, segment, key, heartbeat secret, the node's own"

        # All goes well; then each side shows the other what it must not, and things break.
        assert (await node.job(name))[0] == 200
        runner = (await node.listed(name))["url"]
        assert (await node.call("POST", runner + "/x", data=b"{}"))[0] == 200
        for path in [f"/byoc/nobody/{secret}" for secret in secrets] + [f"/live/x/{secret}/y" for secret in secrets]:
            async with daemon.client.post(
                daemon.url + path, headers={"Authorization": f"Bearer {min(secrets)}"}
            ) as answer:
                assert answer.status == 503
                assert shown(await answer.text(), secrets) == [], path
        await node.fault("fail", on=1)
        node.secret_file.write_text(ANOTHER)
        await daemon.until("orchd uses the other secret", lambda: daemon.events("secret_changed"))
        await node.kill()
        await node.start()
        await daemon.until("the other secret is refused", lambda: "node_secret" in daemon.log_text())
        node.secret_file.write_text(SECRET)
        await daemon.until("it is offered again", offered)
        secrets |= {(await node.capabilities())[name]["token"], *kept(daemon), ANOTHER}

        said = {page: await fetched(daemon, page) for page in PAGES}
        for words in (("status",), ("status", "shared"), ("status", "--json")):
            _, said[" ".join(words)] = await daemon.command(*words, *daemon.flags("admin.listen"))
    said["the log"] = daemon.log_text()
    assert {where: found for where, text in said.items() if (found := shown(text, secrets))} == {}


async def fetched(daemon: Daemon, page: str) -> str:
    async with daemon.client.get(f"http://127.0.0.1:{daemon.admin_port}{page}") as answer:
        return await answer.text()


def shown(text: str, secrets: set[str]) -> list[str]:
    return [secret for secret in sorted(secrets) if secret in text]
