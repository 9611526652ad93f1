"""What is read again on request (SIGHUP, `systemctl reload`): the models file, secrets, and the setting `log.level`.

The models file is read again together with the env and token files that its entries name, which are not watched. Other
settings that have changed are named in the log; they take effect at the next start.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

import structlog

from orchd.errors import OrchdError
from orchd.part import Context, Part, Roots
from orchd.settings.load import differences, value_of
from orchd.settings.secrets import SecretInUse, read_secret
from orchd.settings.tree import Settings
from orchd.threads import DaemonThreads

log = structlog.get_logger("orchd.reload")

LEVEL = "log.level"
READ_TIMEOUT_S = 30.0
"""Timeout in seconds for the settings and secrets: their files may lie on a mount that hangs."""


class Reload:
    """Reads everything again on request.

    Args:
        settings: those in effect.
        asked: is set to ask for it; several requests before it begins count as one.
        again: reads the settings again, as at start; raises SettingsError.
        set_level: changes the lowest level that is logged.
        secrets: by the setting that names the file.
        read_models: has the models file read again.
    """

    def __init__(
        self,
        settings: Settings,
        env: Mapping[str, str],
        *,
        asked: asyncio.Event,
        again: Callable[[], Settings],
        set_level: Callable[[str], None],
        secrets: Mapping[str, SecretInUse],
        read_models: Callable[[], None],
    ) -> None:
        self._settings = settings
        self._level = settings.log.level
        self._env = env
        self._again = again
        self._set_level = set_level
        self._secrets = secrets
        self._read_models = read_models
        self._asked = asked
        self._threads = DaemonThreads("reload")

    async def run(self) -> None:
        """Read everything again at each request, for ever. What can't be read is logged, and stays as it was."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            log.info("reload_asked")
            settings = await self._read_settings()
            for name in self._secrets:
                await self._read_secret(name, settings)
            self._read_models()

    async def _read_settings(self) -> Settings:
        """Return the settings as they are now, or those in effect if they can't be read."""
        try:
            settings = await self._threads.run(self._again, READ_TIMEOUT_S)
        except OrchdError as exc:
            log.error("settings_refused", reason=exc.message, code=exc.code)
            return self._settings
        except TimeoutError:
            log.error("settings_refused", reason=f"cannot read the settings within {READ_TIMEOUT_S:g} s")
            return self._settings
        if settings.log.level != self._level:
            self._level = settings.log.level
            self._set_level(self._level)
            log.warning("setting_changed", setting=LEVEL, value=self._level)  # A warning is seen at most levels.
        for name in differences(self._settings, settings):
            if name != LEVEL and name not in self._secrets:
                value, now = value_of(self._settings, name), value_of(settings, name)
                log.warning("setting_not_changed", setting=name, value=value, wanted=now, reason="needs a restart")
        return settings

    async def _read_secret(self, name: str, settings: Settings) -> None:
        secret = self._secrets[name]
        file = str(value_of(settings, name))
        try:
            now = await self._threads.run(
                partial(read_secret, name, file, self._env, lines=secret.lines), READ_TIMEOUT_S
            )
            if now != secret.now:
                secret.use(now)
                secret.now = now
                log.info("secret_changed", setting=name)
        except OrchdError as exc:
            log.error("secret_refused", setting=name, reason=exc.message, code=exc.code)
        except TimeoutError:
            log.error("secret_refused", setting=name, reason=f"cannot read {file} within {READ_TIMEOUT_S:g} s")


class ReadsAgain(Protocol):
    """As `catalog.ports.DesiredModels`."""

    def read_again(self) -> None: ...


class ReloadPart(Part):
    """Reads again what can be, when `ask` has been called.

    Args:
        secrets: by the setting that names the file; filled in when this part starts.
        again: reads the settings again, as at start; raises SettingsError.
        set_level: changes the lowest level that is logged.
    """

    name = "reload"

    def __init__(
        self,
        context: Context,
        catalog: ReadsAgain,
        secrets: Mapping[str, SecretInUse],
        again: Callable[[], Settings],
        set_level: Callable[[str], None],
    ) -> None:
        self._asked = asyncio.Event()
        self._reload = Reload(
            context.settings,
            context.env,
            asked=self._asked,
            again=again,
            set_level=set_level,
            secrets=secrets,
            read_models=catalog.read_again,
        )

    def ask(self) -> None:
        """Read everything again, soon."""
        self._asked.set()

    def roots(self) -> Roots:
        return {"reload": self._reload.run()}
