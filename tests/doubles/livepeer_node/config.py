"""The file of `--config`: TOML, with the Go names of the flags. Source: livepeer-node.md 2, which is not recorded."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.doubles.livepeer_node.settings import BadStart

KEYS = {
    "Network": "network",
    "Listen": "listen",
    "MetricsListen": "metrics-listen",
    "ServiceURL": "service-url",
    "RunnerServiceURL": "runner-service-url",
    "ProxyURLTemplate": "proxy-url-template",
    "BootstrapSecretFile": "bootstrap-secret-file",
    "RunnerGrants": "runner-grants",
    "SessionProxyGrants": "session-proxy-grants",
    "HealthGrants": "health-grants",
    "RunnerConfig": "runner-config",
    "HeartbeatInterval": "heartbeat-interval",
    "HeartbeatTTL": "heartbeat-ttl",
    "ChainID": "chain-id",
    "WeiPerUSD": "wei-per-usd",
    "KeystoreFile": "keystore-file",
    "RPCURLFile": "rpc-url-file",
    "Controller": "controller",
}
"""What a key is called on the command line."""


def flags_of(file: Path, given: Sequence[str]) -> list[str]:
    """Return the file as flags, without those that the command line has: it wins.

    Args:
        given: the command line.

    Raises:
        BadStart: there is no such file, it is no TOML, or it has a key that the program does not know.
    """
    try:
        found = tomllib.loads(file.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise BadStart(f"cannot read --config {file}: {error}") from error
    if unknown := found.keys() - KEYS.keys():
        raise BadStart(f"unknown configuration keys: {sorted(unknown)}")
    return [word for name, value in _named(found).items() if name not in _names(given) for word in _said(name, value)]


def _named(found: Mapping[str, object]) -> dict[str, object]:
    return {KEYS[key]: value for key, value in found.items()}


def _names(given: Sequence[str]) -> set[str]:
    return {word.removeprefix("--").partition("=")[0] for word in given if word.startswith("--")}


def _said(name: str, value: object) -> list[str]:
    values = value if isinstance(value, list) else [value]
    return [word for each in values for word in (f"--{name}", str(each))]
