"""Secrets whose files the settings name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchd.domain.model import Secret
from orchd.errors import Code, SettingsError
from orchd.settings.files import call, reason


@dataclass(slots=True)
class SecretInUse:
    """The content of a secret's file, and who has it.

    Attributes:
        now: as last read; None = no file is named.
        use: hands over another one. Raises OrchdError where it is of no use.
    """

    now: Secret | None
    use: Callable[[Secret | None], None]


def read_secret(name: str, file: str, env: Mapping[str, str]) -> Secret | None:
    """Return the content of a secret's file, trimmed; None where none is named.

    Args:
        name: of the setting, for the error.
        file: absolute, or a name in $CREDENTIALS_DIRECTORY (systemd), or relative to the working directory.

    Raises:
        SettingsError: SECRET_UNREADABLE; the daemon does not start.
    """
    if not file:
        return None
    credentials = env.get("CREDENTIALS_DIRECTORY")
    path = Path(credentials) / file if credentials else Path(file)
    try:
        if not call(path.exists):
            path = Path(file)
        text = call(lambda: path.read_text(encoding="utf-8")).strip()
    except (OSError, ValueError) as exc:
        why = reason(exc) if isinstance(exc, OSError) else "it is not text"
        raise SettingsError(
            f"cannot read the file that {name} names, {path}: {why}", code=Code.SECRET_UNREADABLE
        ) from exc
    if not text or any(not character.isprintable() for character in text):
        raise SettingsError(
            f"cannot use the content of {path} ({name}): it should be one line of text", code=Code.SECRET_UNREADABLE
        )
    return Secret(text)
