"""From an HTTP answer to a word. Pure.

Source: container contract 5.2, in its order: loading codes, codes that fail, the status word of the body.
"""

from __future__ import annotations

import json
import re
from typing import Any

from orchd.domain.model import HealthKind, HealthSpec
from orchd.domain.ports import ProbeWord
from orchd.reasons import one_line

BODY_BYTES = 65536
"""How much of an answer's body is read; a status word stands near its start."""

EVIDENCE_CHARS = 120


def classify(code: int, body: bytes, health: HealthSpec, *, early: bool) -> tuple[ProbeWord, str]:
    """Return what the answer means, and the evidence for it in one line.

    Args:
        body: at most `BODY_BYTES`.
        early: inside the start window.
    """
    evidence = f"{code} {one_line(body.decode(errors='replace'), EVIDENCE_CHARS)}".rstrip()
    if code in health.loading_codes or (early and code in health.early_loading_codes):
        return ProbeWord.LOADING, evidence
    if code not in health.ok_codes:
        return ProbeWord.FAILED, evidence
    if health.kind is HealthKind.HTTP_STATUS:
        return ProbeWord.READY, evidence
    return _meaning(status_word(body, health.status_field), health), evidence


def status_word(body: bytes, field: str) -> str | None:
    """Return the status word of `body` in lower case: a member of a JSON object, a JSON string, or a bare word."""
    text = body.decode("utf-8-sig", errors="replace").strip()
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        value = text if re.fullmatch(r"[A-Za-z_-]+", text) else None
    if isinstance(value, dict):
        value = value.get(field)
    return value.strip().lower() if isinstance(value, str) and value.strip() else None


def _meaning(word: str | None, health: HealthSpec) -> ProbeWord:
    if word is None:
        return ProbeWord(health.unparsed_as)
    for words, meaning in (
        (health.error, ProbeWord.ERROR),
        (health.loading, ProbeWord.LOADING),
        (health.ready, ProbeWord.READY),
        (health.busy, ProbeWord.BUSY),
    ):
        if word in words:
            return meaning
    return ProbeWord.UNKNOWN
