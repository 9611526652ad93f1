"""PURE. What the node is started with, and which starts it refuses. Source: livepeer-node.md 2; node-restart.json."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from tests.doubles.livepeer_node.grants import BadGrant, Grants

OFFCHAIN = "offchain"
_ENVIRONMENT = "LIVEPEER_ORCHESTRATOR_"


class BadStart(Exception):
    """The program ends with exit code 2 and this text."""


@dataclass(frozen=True)
class NodeSettings:
    """The program's keys. Addresses are `host:port`, port 0 = a free one."""

    listen: str = "127.0.0.1:0"
    metrics_listen: str = "127.0.0.1:0"
    service_url: str | None = None
    """What the node calls itself; None = its own address."""
    runner_service_url: str | None = None
    """What it calls itself before runners; None = `service_url`."""
    proxy_url_template: str | None = None
    bootstrap_secret: bytes | None = b"s3cret"
    """The bytes of the file, a newline at their end included."""
    runner_grants: tuple[str, ...] = ()
    session_proxy_grants: tuple[str, ...] = ()
    health_grants: tuple[str, ...] = ()
    runner_config: Path | None = None
    heartbeat_interval_s: float = 5.0
    heartbeat_ttl_s: float = 30.0
    network: str = OFFCHAIN
    payment_keys: tuple[str, ...] = ()
    """Names of those that are set, such as `chain-id`. This double has no paid mode."""
    version: str = "1.0.0"
    """From 1.0.1 on grants have another form; nothing else that changed there is known."""


@dataclass(frozen=True)
class Policies:
    """Whom the node may dial on whose behalf."""

    runners: Grants
    session_proxies: Grants
    health: Grants


def check(settings: NodeSettings) -> Policies:
    """Raises BadStart."""
    if settings.payment_keys:
        if settings.network == OFFCHAIN:
            raise BadStart(
                f"on-chain payments require an explicit on-chain --network (or {_ENVIRONMENT}NETWORK), e.g. "
                "'--network arbitrum-one-mainnet'"
            )
        raise BadStart("cannot run paid: this double has no paid mode")
    if not settings.bootstrap_secret and settings.runner_config is None:
        raise BadStart(
            f"bootstrap secret or static runner config is required: set {_ENVIRONMENT}BOOTSTRAP_SECRET, supply "
            f"--bootstrap-secret-file (or {_ENVIRONMENT}BOOTSTRAP_SECRET_FILE), or supply --runner-config (or "
            f"{_ENVIRONMENT}RUNNER_CONFIG) with a static runner TOML file"
        )
    _check_addresses(settings)
    if not 0 < settings.heartbeat_interval_s < settings.heartbeat_ttl_s:
        raise BadStart(
            "--heartbeat-interval must be positive and --heartbeat-ttl must be greater than --heartbeat-interval"
        )
    literals = tuple(map(int, settings.version.split("."))) >= (1, 0, 1)
    return Policies(
        _grants("runner-grants", settings.runner_grants, literals),
        _grants("session-proxy-grants", settings.session_proxy_grants, literals),
        _grants("health-grants", settings.health_grants, literals),
    )


def _check_addresses(settings: NodeSettings) -> None:
    _ip("listen", settings.listen)
    if not ipaddress.ip_address(_ip("metrics-listen", settings.metrics_listen)).is_loopback:
        raise BadStart(
            f"--metrics-listen (or {_ENVIRONMENT}METRICS_LISTEN) must bind a loopback IP:port address, e.g. "
            "127.0.0.1:8936 or [::1]:8936"
        )
    for name, url in (("service-url", settings.service_url), ("runner-service-url", settings.runner_service_url)):
        if url is None:
            continue
        parts = urlsplit(url)
        if (
            parts.scheme not in ("http", "https")
            or not parts.hostname
            or parts.username
            or parts.query
            or parts.fragment
        ):
            raise BadStart(f"--{name} must be an absolute HTTP or HTTPS URL without credentials, query or fragment")


def _ip(name: str, address: str) -> str:
    host = address.rpartition(":")[0].strip("[]")
    try:
        ipaddress.ip_address(host)
    except ValueError:
        raise BadStart(f'invalid value for --{name}: ParseAddr("{host}"): unable to parse IP') from None
    return host


def _grants(name: str, grants: tuple[str, ...], literals: bool) -> Grants:
    try:
        return Grants(grants, literals=literals)
    except BadGrant as error:
        raise BadStart(f"invalid --{name} destination grant: {error}") from None
