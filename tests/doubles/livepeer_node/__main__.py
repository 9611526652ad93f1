"""The double as a process: `python -m tests.doubles.livepeer_node --ready-file F`. It ends as the real one does.

Flags are the program's own, but for --control and --ready-file. A refused start exits 2.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.doubles.livepeer_node.config import flags_of
from tests.doubles.livepeer_node.faults import control_routes
from tests.doubles.livepeer_node.node import Node
from tests.doubles.livepeer_node.settings import OFFCHAIN, BadStart, NodeSettings
from tests.doubles.shared import process
from tests.doubles.shared.clock import RealClock

_PAYMENT_KEYS = ("chain-id", "wei-per-usd", "keystore-file", "rpc-url-file", "controller")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.doubles.livepeer_node", description=__doc__, allow_abbrev=False
    )
    flag = parser.add_argument
    flag("--config", type=Path, help="TOML with the Go names of the flags; a flag that is given wins")
    flag("--listen", default="127.0.0.1:0", help="IP and port of the service port; 0 = a free one")
    flag("--metrics-listen", default="127.0.0.1:0")
    flag("--service-url", help="what the node calls itself")
    flag("--runner-service-url", help="what it calls itself before runners")
    flag("--proxy-url-template", help="with {proxy} as a label of the host or as the last segment of the path")
    flag("--bootstrap-secret-file", type=Path, help="every byte of it counts")
    flag("--runner-grants", action="append", default=[], help="host:port; may be given more than once")
    flag("--session-proxy-grants", action="append", default=[])
    flag("--health-grants", action="append", default=[])
    flag("--runner-config", type=Path, help="static runners, as TOML")
    flag("--heartbeat-interval", type=_seconds, default=5.0, help="such as 5s")
    flag("--heartbeat-ttl", type=_seconds, default=30.0)
    flag("--network", default=OFFCHAIN)
    flag("--version", default=NodeSettings.version, help="from 1.0.1 on a grant is an IP, with or without a port")
    for key in _PAYMENT_KEYS:
        flag(f"--{key}", help="refused: this double has no paid mode")
    flag("--control", default="127.0.0.1:0", help="IP and port of the fault switches (see shared/faults.py)")
    flag("--ready-file", type=Path, help="JSON: service_url, metrics_url, control_url, pid")
    return parser


def _seconds(duration: str) -> float:
    return float(duration.removesuffix("s"))


def settings_of(given: argparse.Namespace) -> NodeSettings:
    """Raises BadStart."""
    secret: Path | None = given.bootstrap_secret_file
    try:
        bootstrap_secret = None if secret is None else secret.read_bytes()
    except OSError as error:
        raise BadStart(f"cannot read --bootstrap-secret-file {secret}: {error.strerror}") from error
    return NodeSettings(
        listen=given.listen,
        metrics_listen=given.metrics_listen,
        service_url=given.service_url,
        runner_service_url=given.runner_service_url,
        proxy_url_template=given.proxy_url_template,
        bootstrap_secret=bootstrap_secret,
        runner_grants=tuple(given.runner_grants),
        session_proxy_grants=tuple(given.session_proxy_grants),
        health_grants=tuple(given.health_grants),
        runner_config=given.runner_config,
        heartbeat_interval_s=given.heartbeat_interval,
        heartbeat_ttl_s=given.heartbeat_ttl,
        network=given.network,
        version=given.version,
        payment_keys=tuple(key for key in _PAYMENT_KEYS if vars(given)[key.replace("-", "_")] is not None),
    )


def parsed(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Raises BadStart."""
    said = list(sys.argv[1:] if arguments is None else arguments)
    given = _parser().parse_args(said)
    return given if given.config is None else _parser().parse_args([*flags_of(given.config, said), *said])


async def _run(given: argparse.Namespace) -> None:
    node = Node(settings_of(given), RealClock())

    def addresses() -> dict[str, str]:
        return {"service_url": node.service_url, "metrics_url": node.metrics_url}

    await process.run(node, given.control, control_routes(node), given.ready_file, addresses)


if __name__ == "__main__":
    try:
        asyncio.run(_run(parsed()))
    except BadStart as error:
        print(error, file=sys.stderr)
        sys.exit(2)
