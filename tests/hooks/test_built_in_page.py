"""docs/how-to/built-in-hooks.md: its settings are loaded, its answers are understood, its options are all there are."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from orchd.exposition import MetricsRegistry
from orchd.hooks.hook import HookOptions
from orchd.hooks.part import HooksPart
from orchd.hooks.settings import BUILT_IN, WITH_OPTIONS
from orchd.lag import LoopLag
from orchd.names import Names
from orchd.settings.load import load_settings
from orchd.tickets.built_in import BuiltInHooks
from orchd.tickets.limits import LimitsOptions
from orchd.tickets.signed_job import SignedJobOptions
from orchd.tickets.webhook import FACTS, WebhookOptions
from orchd.tickets.webhook_answer import read_answer

PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "built-in-hooks.md").read_text()
OPTIONS: dict[str, type[HookOptions]] = {
    "signed-job": SignedJobOptions,
    "webhook": WebhookOptions,
    "limits": LimitsOptions,
}


def blocks(language: str) -> list[str]:
    return [str(found) for found in re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)]


@pytest.mark.parametrize("lines", blocks("toml"))
async def test_the_settings_of_the_page_load_and_open(lines: str, tmp_path: Path) -> None:
    (tmp_path / "deny").write_text("# nobody\n")
    (tmp_path / "webhook-secret").write_text("s3cret\n")
    file = tmp_path / "orchd.toml"
    file.write_text(lines.replace("/etc/orchd", str(tmp_path)))
    settings = load_settings(argv={}, env={}, file=file)
    context = SimpleNamespace(
        settings=settings, env={}, names=Names(), state_dir=tmp_path, lag=LoopLag(), metrics=MetricsRegistry()
    )
    node = SimpleNamespace(tokens=None)
    part = HooksPart(
        context,  # type: ignore[arg-type]
        SimpleNamespace(database=None),
        BuiltInHooks(context, node),  # type: ignore[arg-type]
    )
    try:
        await part.open()
        assert part.names == settings.hooks.order
    finally:
        await part.close()


def test_every_hook_with_options_has_its_settings_on_the_page() -> None:
    assert {name for lines in blocks("toml") for name in re.findall(r"\[hooks\.(.*)\]", lines)} == set(WITH_OPTIONS)
    assert all(f"| `{name}` |" in PAGE for name in BUILT_IN)


@pytest.mark.parametrize("name", OPTIONS)
def test_every_option_is_named_on_the_page(name: str) -> None:
    assert set(OPTIONS) == set(WITH_OPTIONS)
    named = set(re.findall(r"`([a-z_]+)`", PAGE)) | set(re.findall(r"^([a-z_]+) =", PAGE, re.MULTILINE))
    assert set(OPTIONS[name].model_fields) <= named


def test_the_answers_of_the_page_are_understood_and_every_fact_is_named() -> None:
    answers = [line for block in blocks("json") for line in block.splitlines() if '"allow"' in line]
    allowed, denied = (read_answer(line.encode()) for line in answers)
    assert (allowed.payer, allowed.limit, denied.status, denied.reason) == ("acme", 3, 402, "no_contract")
    assert [fact for fact in FACTS if f"`{fact}`" not in PAGE] == []
