"""Static runners: a TOML file read at start, and their health. Source: livepeer-node.md 7; node-static.json."""

from __future__ import annotations

import asyncio
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

from tests.doubles.livepeer_node import entries
from tests.doubles.livepeer_node.entries import IDENTIFIER, PERSISTENT, READY, BadEntry, Entry, Said, is_absolute
from tests.doubles.livepeer_node.grants import Grants
from tests.doubles.livepeer_node.settings import BadStart
from tests.doubles.livepeer_node.transport import (
    Answer,
    Broken,
    Target,
    Transport,
    Unreachable,
    read_answer,
    request_head,
)
from tests.doubles.shared.clock import Clock

CHECK_S = 5.0
MAX_REDIRECTS = 10
_KEYS = {
    *("id", "label", "version", "metadata", "app", "mode", "proxy", "status", "capacity", "runnerurl"),
    *("healthurl", "healthcode", "gpu", "priceinfo"),
}
_TABLES = {"gpu": {"id", "name", "vrammb"}, "priceinfo": {"price", "currency", "unit"}}


@dataclass(frozen=True)
class StaticRunner:
    """`health_url` is empty for one that is always healthy."""

    entry: Entry
    health_url: str
    health_code: int


def load(path: Path, *, host_template: bool) -> list[StaticRunner]:
    """Raises BadStart."""
    try:
        return _parsed(path.read_text(), host_template)
    except (OSError, tomllib.TOMLDecodeError, BadEntry) as error:
        raise BadStart(
            f'load static runners from "{path.name}" (--runner-config or LIVEPEER_ORCHESTRATOR_RUNNER_CONFIG): {error}'
        ) from error


def _parsed(text: str, host_template: bool) -> list[StaticRunner]:
    """Raises BadEntry, TOMLDecodeError."""
    document = tomllib.loads(text)
    unknown = [f"{key}.{name}" for key, name in _unknown(document)]
    if unknown:
        raise BadEntry(f"unknown static runner keys: [{unknown[0]}]")
    found: dict[str, StaticRunner] = {}
    for said in _lower(document).get("runners", []):
        runner = _runner(said, text, host_template)
        if runner.entry.runner_id in found:
            raise BadEntry(f"duplicate static runner id {runner.entry.runner_id}")
        found[runner.entry.runner_id] = runner
    return list(found.values())


def _unknown(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = []
    for key, runners in document.items():
        for runner in runners if isinstance(runners, list) else []:
            found += [(key, name) for name in runner if name.lower() not in _KEYS]
            for name, table in runner.items():
                known = _TABLES.get(name.lower(), set())
                found += [(f"{key}.{name}", inner) for inner in table if inner.lower() not in known] if known else []
    return found


def _lower(value: Any) -> Any:
    """Keys match in any case."""
    if isinstance(value, dict):
        return {key.lower(): _lower(inner) for key, inner in value.items()}
    return [_lower(inner) for inner in value] if isinstance(value, list) else value


def _runner(said: dict[str, Any], text: str, host_template: bool) -> StaticRunner:
    """Raises BadEntry."""
    runner_id = said.get("id", "")
    if not IDENTIFIER.fullmatch(runner_id):
        raise BadEntry("static runner id must be a route-safe identifier")
    health_url = said.get("healthurl", "")
    if health_url and not is_absolute(health_url):
        raise BadEntry(f"static runner {runner_id} has invalid health URL")
    gpu, price = said.get("gpu"), said.get("priceinfo", {})
    entry = Entry(
        runner_id=runner_id,
        app=said.get("app", ""),
        runner_url=said.get("runnerurl", ""),
        mode=said.get("mode") or PERSISTENT,
        capacity=said.get("capacity") or 1,
        proxy=said.get("proxy", False),
        status=said.get("status") or READY,
        gpu={"id": gpu.get("id", ""), "name": gpu.get("name", ""), "vram_mb": gpu.get("vrammb", 0)} if gpu else None,
        version=said.get("version", ""),
        metadata=said.get("metadata", ""),
    )
    unit, currency = str(price.get("unit") or "hour").lower(), str(price.get("currency", "")).lower()
    checked = Said(entry, _price(price.get("price", 0), text), currency, unit)
    return StaticRunner(
        entries.checked(checked, host_template=host_template), health_url, said.get("healthcode") or 200
    )


def _price(value: Any, text: str) -> Decimal:
    """Raises BadEntry in the words of the program's TOML reader."""
    if isinstance(value, str):
        before = re.split(r"(?im)^\s*price\s*=", text, maxsplit=1)[0]
        raise BadEntry(
            f'toml: line {before.count(chr(10)) + 1} (last key "Runners.PriceInfo.Price"): incompatible types: '
            "TOML value has type string; destination has type string"
        )
    return Decimal(str(value))


class Health:
    """Asks static runners whether they are well."""

    def __init__(self, clock: Clock, grants: Grants) -> None:
        self._clock = clock
        self._grants = grants
        self._transport = Transport(clock)

    def close(self) -> None:
        self._transport.close()

    async def ask(self, runner: StaticRunner) -> bool:
        url = runner.health_url
        try:
            async with self._clock.timeout(CHECK_S):
                for _ in range(MAX_REDIRECTS + 1):
                    answer = await self._get(url)
                    if answer.status not in (301, 302, 303, 307, 308):
                        return answer.status == runner.health_code
                    url = urljoin(url, answer.header("Location"))
        except (TimeoutError, Unreachable, Broken):
            pass
        return False

    async def _get(self, url: str) -> Answer:
        target = Target.of(url)
        with self._clock.busy():
            connection = await self._transport.connect(target, self._grants)
            try:
                headers = [("User-Agent", "Go-http-client/1.1"), ("Accept-Encoding", "gzip")]
                connection.writer.write(request_head("GET", target, headers))
                return await read_answer(connection, "GET", lambda *_: None)
            finally:
                connection.close()


async def ask_all(health: Health, runners: list[StaticRunner]) -> list[bool]:
    return await asyncio.gather(*(health.ask(runner) for runner in runners))
