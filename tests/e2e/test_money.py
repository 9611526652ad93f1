"""A real daemon that takes tickets: the last line of `orchd status`, `orchd tickets`, and new secrets while it runs."""

from __future__ import annotations

import json

from tests.e2e.conftest import Start
from tests.e2e.scripts import process


async def test_the_money_is_the_last_line_and_secrets_are_made_new_by_the_daemon_that_runs(make: Start) -> None:
    daemon = make(settings={"hooks.order": "node-token,tickets"})
    daemon.write(process("ok"))
    here = daemon.flags("admin.listen", "state_dir")
    state = daemon.flags("state_dir")
    async with daemon:
        await daemon.until_state("ok", "ready")
        code, page = await daemon.command("status", *here)
        assert code == 0
        assert page.splitlines()[-1] == (
            "Money: 0 paid sessions now; earned 0 ETH today, 0 ETH in all; won 0 ETH, owed 0 ETH"
        )
        assert json.loads((await daemon.command("status", "--json", *here))[1])["money"]["owed_wei"] == "0"
        assert await daemon.command("tickets", *state) == (0, "no ticket has been taken yet\n")
        assert await daemon.metric("orchd_ledger_failures_total") == 0
        assert (await daemon.command("tickets", "rotate", *state))[0] == 0

        async def told() -> bool:
            return "ledger_rotated" in (await daemon.command("events", *state))[1]

        await daemon.until("the event is kept", told)
    assert (await daemon.command("tickets", "reconcile", *state))[0] == 0
