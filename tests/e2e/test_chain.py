"""The daemon beside a chain: it says how the chain stands, reads its URLs again, and never tells them."""

from __future__ import annotations

import json
import signal
from pathlib import Path

from orchd.chain.contracts import ARBITRUM_ONE
from tests.chain.parts import US, urls_file
from tests.doubles.livepeer_chain.chain import FIRST_ROUND, LocalChain
from tests.doubles.rpc.proxy import RpcFaults, RpcProxy
from tests.doubles.rpc.serving import KEY
from tests.e2e.daemon import Daemon


async def test_the_chain_is_known_when_jobs_are_taken_and_other_urls_are_used_without_a_restart(
    tmp_path: Path, instance: str
) -> None:
    async with (
        LocalChain.started(ARBITRUM_ONE) as chain,
        RpcProxy.serving(chain.url) as first,
        RpcProxy.serving(chain.url) as second,
    ):
        await chain.activate(US)
        settings = {
            "chain.id": str(ARBITRUM_ONE),
            "chain.rpc_url_file": str(urls_file(tmp_path, [first])),
            "chain.controller": chain.controller,
            "chain.orchestrator": f"0x{US.hex()}",
            "chain.poll_s": "0.1",
        }
        async with Daemon(tmp_path / "orchd", instance, settings=settings) as daemon:
            await daemon.until("jobs are taken", lambda: daemon.events("jobs_listening"))
            told = (await daemon.status())["chain"]
            assert (told["round"], told["active"], told["usable"], told["payers"]) == (FIRST_ROUND, True, True, 0)
            assert [server["up"] for server in told["servers"]] == [True]
            code, page = await daemon.command("status", *daemon.flags("admin.listen"))
            assert code == 0
            assert f"Arbitrum One: round {FIRST_ROUND}, L1 block" in page
            assert "1 of 1 RPC servers answer" in page

            first.faults = RpcFaults(status=500)
            await daemon.until("the failure is told", lambda: daemon.events("rpc_server_failed"))
            urls_file(tmp_path, [second])
            assert daemon.process is not None
            daemon.process.send_signal(signal.SIGHUP)
            await daemon.until("other URLs are asked", lambda: second.requests)
            assert await daemon.metric("orchd_chain_round") == FIRST_ROUND

            async with daemon.client.get(f"http://127.0.0.1:{daemon.admin_port}/metrics") as answer:
                metrics = await answer.text()
            everything = daemon.log_text() + json.dumps(await daemon.status()) + metrics + page
            assert KEY not in everything


async def test_settings_of_the_chain_that_cannot_be_used_are_told_by_check_and_keep_orchd_from_starting(
    tmp_path: Path, instance: str
) -> None:
    (tmp_path / "rpc").write_text(f"https://arb.example.com/v2/{KEY}\n{KEY}\n")
    (tmp_path / "aiModels.json").write_text("[]")
    settings = {
        "chain.id": "421614",
        "chain.rpc_url_file": str(tmp_path / "rpc"),
        "chain.orchestrator": "0x5aAec6053F3E94C9b9A09f33669435E7Ef1BeAed",
    }
    daemon = Daemon(tmp_path, instance, settings=settings)
    config = tmp_path / "orchd.toml"
    config.write_text("[chain]\n" + "".join(f"{name[6:]} = {_toml(value)}\n" for name, value in settings.items()))
    code, said = await daemon.command("check", "--config", str(config), "--models-file", str(daemon.models))
    assert code == 1, "orchd does not start with these"
    assert "chain.controller = empty, and orchd knows that of Arbitrum One alone" in said
    assert "chain.orchestrator = 0x5aAec6053F3E94C9b9A09f33669435E7Ef1BeAed has a wrong checksum" in said
    assert "cannot use line 2 of the file in chain.rpc_url_file" in said
    await daemon.start(wait=False)
    assert daemon.process is not None
    assert await daemon.process.wait() != 0
    assert "cannot use line 2 of the file in chain.rpc_url_file" in daemon.log_text()
    assert KEY not in said + daemon.log_text()


def _toml(value: str) -> str:
    return value if value.isdecimal() else json.dumps(value)
