"""What must not be shown, and how it is taken out of text that others wrote (a runner's log lines or health body)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from orchd.domain.model import ExternalLaunch, Model

REDACTED = "***"

_SECRET_NAME = re.compile(
    r"token|secret|passw|authori[sz]ation|credential|api_?key|access_?key|private_?key|cookie", re.IGNORECASE
)
_BEARER = re.compile(r"\b(bearer)\s+[\w.~+/=-]{16,}", re.IGNORECASE)

_SHORTEST = 6
"""Characters; a shorter value (`1`, `true`) is not a secret, and taking it out would only garble text."""


@lru_cache(maxsize=1024)
def is_secret_name(name: str) -> bool:
    """Return whether a value of this name (header, variable, log field) is to be taken for a secret."""
    return _SECRET_NAME.search(name) is not None


def secrets_of(model: Model) -> frozenset[str]:
    """Return the secret values that an entry gives its runner: its token, and variables that are named like one."""
    values = {model.token.value} if model.token else set()
    if not isinstance(model.launch, ExternalLaunch):
        values |= {value for name, value in model.launch.env if is_secret_name(name)}
    return frozenset(value for value in values if len(value) >= _SHORTEST)


def scrub(text: str, secrets: Iterable[str] = ()) -> str:
    """Return `text` without `secrets` and without anything that looks like an `Authorization` value."""
    for secret in secrets:
        text = text.replace(secret, REDACTED)
    if "bearer" not in text.lower():  # Nearly always, and ten times faster than the search below.
        return text
    return _BEARER.sub(rf"\1 {REDACTED}", text)
