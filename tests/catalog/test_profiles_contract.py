"""The profiles say what table 5.3 of the container contract says, cell by cell where a cell is a value."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from orchd.catalog.profiles import OPTIMISED_TIMEOUT_S, PROFILES
from orchd.domain.model import HealthSpec

CONTRACT = Path(__file__).parents[1] / "data" / "protocol" / "container.md"
SECTION = CONTRACT.read_text().partition("### 5.3 ")[2].partition("\n## 6.")[0]
TABLE = {
    re.sub(r"[` ]", "", cells[0]): [cell.strip() for cell in cells[1:]]
    for line in SECTION.splitlines()
    if line.startswith("| `") and len(cells := re.split(r"(?<!\\)\|", line.strip("|"))) == 5
}
DEFAULT, B_AND_F, E_COLUMN, OTHERS = range(4)


def words(cell: str) -> tuple[str, ...]:
    return tuple(re.findall(r"[a-z]+", cell))


def test_every_profile_that_the_table_names_exists() -> None:
    named = set(re.findall(r"`([a-z-]+)`", "".join(TABLE["profile"])))
    assert named <= set(PROFILES)


@pytest.mark.parametrize(
    ("profile", "column"), [("byoc", DEFAULT), ("pytrickle", B_AND_F), ("ai-runner-live", E_COLUMN)]
)
def test_ready_and_busy_words(profile: str, column: int) -> None:
    ready, busy = TABLE["health.ready/.busy"][column].split(" / ")
    health = PROFILES[profile].health
    assert health.ready == words(ready)
    assert health.busy == words(busy)


def test_loading_and_error_words_are_the_same_for_all() -> None:
    loading, error = TABLE["health.loading/.error"][DEFAULT].split(" / ")
    for profile in PROFILES.values():
        assert profile.health.loading == words(loading)
        assert profile.health.error == words(error)


def test_numbers_of_the_default_profile() -> None:
    health, profile = PROFILES["byoc"].health, PROFILES["byoc"]
    numbers = TABLE["health.interval_s/.timeout_s/.failures/.successes"][DEFAULT]
    assert (health.interval_s, health.timeout_s, health.failures, health.successes) == tuple(
        float(n) for n in numbers.split(" / ")
    )
    assert {profile.start_timeout_s} == {float(n) for n in TABLE["start_timeout_s/loading_timeout_s"][0].split(" / ")}
    assert profile.port == int(TABLE["port"][DEFAULT])
    assert f"`{profile.stop.signal}` / {profile.stop.grace_s:g}" == TABLE["stop.signal/stop.grace_s"][DEFAULT]
    assert PROFILES["byoc"].inference_path in TABLE["inference.path"][DEFAULT]


def test_what_single_kinds_differ_in() -> None:
    assert f"`{PROFILES['pytrickle'].stop.signal}`" in TABLE["stop.signal/stop.grace_s"][B_AND_F]
    assert f"F {PROFILES['comfystream-byoc'].start_timeout_s:g}" == TABLE["start_timeout_s/loading_timeout_s"][B_AND_F]
    assert f"{OPTIMISED_TIMEOUT_S:g} with" in TABLE["start_timeout_s/loading_timeout_s"][OTHERS]
    for letter, name in (("G", "comfystream"), ("H", "app"), ("J", "healthz")):
        assert f"{letter} {PROFILES[name].port}" in TABLE["port"][OTHERS]
    assert f"failures {PROFILES['ai-runner-live'].health.failures}" in " ".join(
        TABLE["health.interval_s/.timeout_s/.failures/.successes"][E_COLUMN].split()
    )
    assert "`500` is loading" in TABLE["health.ok_codes/.loading_codes"][E_COLUMN]
    assert PROFILES["ai-runner-live"].health.early_loading_codes == (500,)
    assert "J `503` is loading" in TABLE["health.ok_codes/.loading_codes"][OTHERS]
    assert PROFILES["healthz"].health.loading_codes == (503,)
    assert TABLE["max_sessions"][B_AND_F] == TABLE["max_sessions"][E_COLUMN] == "forced 1"
    assert {name for name, p in PROFILES.items() if p.sessions_per_replica == 1} == {
        *("pytrickle", "pytrickle-api", "comfystream-byoc", "ai-runner-live")
    }


def test_the_domain_has_the_defaults_of_the_table() -> None:
    assert PROFILES["byoc"].health == HealthSpec()
