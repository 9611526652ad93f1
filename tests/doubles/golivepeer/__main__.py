"""The double as a process: `python -m tests.doubles.golivepeer --ready-file F`. It ends as the real one does: by a
signal.

Flags with one dash are go-livepeer's own; those with two are the double's. One that it does not know ends it, as there.
"""

from __future__ import annotations

import argparse
import asyncio
from fractions import Fraction
from pathlib import Path

from tests.doubles.golivepeer.chain import Chain
from tests.doubles.golivepeer.faults import control_routes
from tests.doubles.golivepeer.node import Node, NodeSettings
from tests.doubles.shared import process
from tests.doubles.shared.clock import RealClock


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.doubles.golivepeer", description=__doc__, allow_abbrev=False)
    flag = parser.add_argument
    flag("-orchestrator", action="store_true", help="what it always is")
    flag("-network", default="offchain", help="offchain, or any other = on chain")
    flag("-datadir", "--datadir", type=Path, help="where cert.pem is written")
    flag("-serviceAddr", help="host:port of the service port, and what the node calls itself")
    flag("-cliAddr", "--cli", dest="cli", default="127.0.0.1:0", help="host:port of the CLI port")
    flag("-orchSecret", "--orch-secret", dest="orch_secret", type=_text_or_file, help="text, or a file that holds it")
    flag("-useLiveRunners", "--use-live-runners", dest="use_live_runners", action="store_true")
    flag("-liveRunnerConfig", "--live-runner-config", dest="live_runner_config", type=Path)
    flag("-liveAITrickleHostForRunner", "--trickle-host-for-runner", dest="trickle_host_for_runner", help="host:port")
    flag("--service", default="127.0.0.1:0", help="host:port of the service port")
    flag("--service-uri", help="what the node calls itself")
    flag("--version", default=NodeSettings.version, help="from 0.10 on there is no BYOC")
    flag("--control", default="127.0.0.1:0", help="host:port of the fault switches (see faults.py)")
    flag("--plain-http", action="store_true")
    flag("--on-chain", action="store_true")
    flag("--eth-usd", type=Fraction, default=Fraction(3000))
    flag("--ready-file", type=Path, help="JSON: service_url, cli_url, control_url, certificate, pid")
    return parser.parse_args()


def _text_or_file(given: str) -> str:
    """Source: byoc.md 2.1."""
    path = Path(given)
    return path.read_text().strip() if path.is_file() else given


async def _run(given: argparse.Namespace) -> None:
    on_chain = given.on_chain or given.network != "offchain"
    settings = NodeSettings(
        service=given.serviceAddr or given.service,
        cli=given.cli,
        service_uri=f"https://{given.serviceAddr}" if given.serviceAddr else given.service_uri,
        plain_http=given.plain_http,
        orch_secret=given.orch_secret,
        use_live_runners=given.use_live_runners,
        live_runner_config=given.live_runner_config,
        trickle_host_for_runner=given.trickle_host_for_runner,
        version=given.version,
        on_chain=Chain(eth_usd=given.eth_usd) if on_chain else None,
    )
    if given.datadir is not None:
        given.datadir.mkdir(parents=True, exist_ok=True)
    node = Node(settings, RealClock(), datadir=given.datadir)

    def addresses() -> dict[str, str]:
        certificate = str(node.certificate_path)
        return {"service_url": node.service_url, "cli_url": node.cli_url, "certificate": certificate}

    await process.run(node, given.control, control_routes(node), given.ready_file, addresses)


if __name__ == "__main__":
    asyncio.run(_run(_arguments()))
