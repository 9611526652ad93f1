"""Secrets whose files the settings name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchd.domain.model import Secret
from orchd.errors import Code, SettingsError
from orchd.settings.files import call, reason

_ENDS = "\r\n"
_AROUND = f" \t{_ENDS}"
ENDS_IN_A_NEWLINE = "ends in a newline"


@dataclass(slots=True)
class SecretInUse:
    """The content of a secret's file, and who has it.

    Attributes:
        now: as last read; None = no file is named.
        use: hands over another one. Raises OrchdError where it is of no use.
        lines: the file holds several lines.
    """

    now: Secret | None
    use: Callable[[Secret | None], None]
    lines: bool = False


@dataclass(frozen=True, slots=True)
class SecretText:
    """What a secret's file holds.

    Attributes:
        around: what stands around the secret in the file, such as `ENDS_IN_A_NEWLINE`; empty = nothing.
    """

    secret: Secret
    around: str


def read_secret(name: str, file: str, env: Mapping[str, str], *, lines: bool = False) -> Secret | None:
    """Return the content of a secret's file without what stands around it; None where none is named.

    As `read_secret_text`.
    """
    found = read_secret_text(name, file, env, lines=lines)
    return found.secret if found else None


def read_secret_text(name: str, file: str, env: Mapping[str, str], *, lines: bool = False) -> SecretText | None:
    """Return what a secret's file holds; None where none is named.

    Blanks and line ends around the secret are no part of it: no header can carry them.

    Args:
        name: of the setting, for the error.
        file: absolute, or a name in $CREDENTIALS_DIRECTORY (systemd), or relative to the working directory.
        lines: several lines are fine.

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
        whole = call(lambda: path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        why = reason(exc) if isinstance(exc, OSError) else "it is not text"
        raise SettingsError(
            f"cannot read the file that {name} names, {path}: {why}", code=Code.SECRET_UNREADABLE
        ) from exc
    text = whole.strip(_AROUND)
    if not text or any(not (character.isprintable() or (lines and character in _ENDS)) for character in text):
        wanted = "lines" if lines else "one line"
        raise SettingsError(
            f"cannot use the content of {path} ({name}): it should be {wanted} of text", code=Code.SECRET_UNREADABLE
        )
    return SecretText(Secret(text), _around(whole))


def _around(whole: str) -> str:
    if whole[-1] in "\r\n":
        return ENDS_IN_A_NEWLINE
    if whole[-1] in _AROUND:
        return "ends in a blank"
    return "begins with a blank or a newline" if whole[0] in _AROUND else ""
