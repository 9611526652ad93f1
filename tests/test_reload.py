"""What a reload takes on, what it only names, and what it leaves as it was because it can't be read."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from orchd.domain.model import Secret
from orchd.errors import SettingsError
from orchd.reload import Reload
from orchd.settings.load import differences, value_of
from orchd.settings.secrets import SecretInUse
from orchd.settings.tree import SETTINGS, Settings
from orchd.tasks import cancel, spawn

NAME = "orchestrator.secret_file"


class Stage:
    """A reload with a secret of its own; `now` are the settings that are read again."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "secret"
        self.file.write_text("one")
        self.running = Settings.model_validate({"orchestrator": {"secret_file": str(self.file)}})
        self.now: Settings | SettingsError = self.running
        self.levels: list[str] = []
        self.used: list[str | None] = []
        self.read = asyncio.Event()

    def _again(self) -> Settings:
        if isinstance(self.now, SettingsError):
            raise self.now
        return self.now

    def _use(self, secret: Secret | None) -> None:
        if secret is not None and secret.value == "useless":
            raise SettingsError("cannot use it")
        self.used.append(secret.value if secret else None)

    async def reload(self, times: int = 1) -> list[dict[str, Any]]:
        """Return the lines of so many reloads, but for that of their beginning."""
        asked = asyncio.Event()
        work = Reload(
            self.running,
            {},
            asked=asked,
            again=self._again,
            set_level=self.levels.append,
            secrets={NAME: SecretInUse(Secret("one"), self._use)},
            read_models=self.read.set,
        )
        task = spawn(work.run(), name="reload")
        with capture_logs() as logs:
            for _ in range(times):
                self.read.clear()
                asked.set()
                async with asyncio.timeout(30):
                    await self.read.wait()
        await cancel(task)
        return [dict(line) for line in logs if line["event"] != "reload_asked"]


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


async def test_where_nothing_has_changed_only_the_models_file_is_read(stage: Stage) -> None:
    assert await stage.reload() == []
    assert (stage.levels, stage.used) == ([], [])


async def test_the_level_is_taken_on_once_and_every_other_setting_is_named(stage: Stage) -> None:
    tree = {
        "instance": "other",
        "jobs": {"listen": "127.0.0.1:1"},
        "log": {"level": "error"},
        "orchestrator": {"secret_file": str(stage.file)},
    }
    stage.now = Settings.model_validate(tree)
    logs = await stage.reload(times=2)
    assert stage.levels == ["error"]
    named = [line["setting"] for line in logs if line["event"] == "setting_not_changed"]
    assert named == ["instance", "jobs.listen"] * 2
    assert all(line["reason"] == "needs a restart" for line in logs if line["event"] == "setting_not_changed")


async def test_a_secret_is_read_again_and_never_told(stage: Stage) -> None:
    stage.file.write_text("two\n")
    logs = await stage.reload(times=2)
    assert stage.used == ["two"], "once"
    assert [(line["event"], line["setting"]) for line in logs] == [("secret_changed", NAME)]
    assert "two" not in str(logs)


async def test_another_file_may_be_named_or_none(stage: Stage) -> None:
    stage.now = Settings()
    assert [line["event"] for line in await stage.reload()] == ["secret_changed"]
    assert stage.used == [None]


@pytest.mark.parametrize("content", ["", "two\nlines", "useless"])
async def test_a_secret_that_cannot_be_used_leaves_the_former(stage: Stage, content: str) -> None:
    stage.file.write_text(content)
    [line] = await stage.reload()
    assert (line["event"], line["setting"], line["log_level"]) == ("secret_refused", NAME, "error")
    assert stage.used == []
    stage.file.write_text("two")
    await stage.reload()
    assert stage.used == ["two"]


async def test_settings_that_cannot_be_read_leave_all_others_to_be_read(stage: Stage) -> None:
    stage.now = SettingsError("cannot read it")
    stage.file.write_text("two")
    logs = await stage.reload()
    assert [(line["event"], line["log_level"]) for line in logs] == [
        *(("settings_refused", "error"), ("secret_changed", "info"))
    ]
    assert stage.used == ["two"]


def test_every_setting_can_be_told_apart() -> None:
    settings = Settings()
    for name, setting in SETTINGS.items():
        assert value_of(settings, name) == setting.field.default
    assert differences(settings, Settings()) == []
    changed = Settings.model_validate({"jobs": {"hold_limit": 5}, "on_stop": "stop"})
    assert differences(settings, changed) == ["on_stop", "jobs.hold_limit"]
