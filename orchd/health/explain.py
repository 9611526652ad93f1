"""Why a probe does not say ready: what was asked, what came back, and which setting would cure it. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable

from orchd.domain.model import HealthKind, HealthSpec
from orchd.health.reading import EVIDENCE_CHARS, status_word
from orchd.reasons import one_line

_WORD_CHARS = 40


def explain(code: int, body: bytes, location: str, health: HealthSpec, asked: str) -> str:
    """Return one line about an answer that neither is good nor says itself what is the matter; else empty.

    Args:
        location: where a redirect points to; empty = nowhere.
        asked: method and URL.
    """
    loading = code in health.loading_codes or code in health.early_loading_codes
    if loading or (code in health.ok_codes and health.kind is HealthKind.HTTP_STATUS):
        return ""
    if code not in health.ok_codes:
        return f"{asked} says {_shown(code, body)}; {_code(code, body, location, health)}"
    word = status_word(body, health.status_field)
    if word is None:
        return f"{asked} says {_shown(code, body)}; {_no_word(body, health)}" if health.unparsed_as != "ready" else ""
    lists = {name: getattr(health, name) for name in ("ready", "busy", "loading", "error")}
    if any(word in words for words in lists.values()):
        return ""
    known = ", ".join(f"health.{name} ({_words(words)})" for name, words in lists.items())
    word = one_line(word, _WORD_CHARS)
    return f"{asked} says {_shown(code, body)}; the word {word!r} is in none of {known}: add it to one of them"


def _code(code: int, body: bytes, location: str, health: HealthSpec) -> str:
    ok = f"{code} is not in health.ok_codes ({_words(health.ok_codes)})"
    if code in (301, 302, 303, 307, 308):
        where = f" to {one_line(location, EVIDENCE_CHARS)}" if location else ""
        return f"it redirects{where}, and redirects are not followed: set health.path to where they lead"
    if code == 400 and b"HTTPS" in body:
        return "it speaks TLS on this port: only a url with https:// is asked by TLS"
    if code in (401, 403):
        return f"{ok}: it wants a login, which probes don't have; open its health route, or set health.kind to tcp"
    if code == 404:
        return f"{ok}: set health.path to the route of its health, or health.kind to tcp if it has none"
    if code == 405:
        return f"{ok}: this route takes no GET; set health.path to one that does"
    if code >= 500:
        return f"its own log may say why; if it says so only while it loads, add {code} to health.loading_codes"
    return f"{ok}: add it there, if it means well"


def _no_word(body: bytes, health: HealthSpec) -> str:
    field = health.status_field
    cure = "or set health.kind to http-status, which goes by the code alone"
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        what = "an empty body" if not body.strip() else "a body that is neither JSON nor a single word"
        return f"{what} holds no status word: set health.path to a route that has one, {cure}"
    if isinstance(value, dict):
        have = ", ".join(one_line(str(name), _WORD_CHARS) for name in list(value)[:8]) or "none"
        return f"its JSON has no text in {field!r} (members: {have}): set health.status_field to the right one, {cure}"
    return f"its JSON is no object with {field!r} in it: set health.path to a route that has one, {cure}"


def _shown(code: int, body: bytes) -> str:
    text = one_line(body.decode(errors="replace"), EVIDENCE_CHARS + 1)
    if len(text) > EVIDENCE_CHARS:
        text = f"{text[:EVIDENCE_CHARS]}..."
    return f"{code} {text}".rstrip()


def _words(words: Iterable[object]) -> str:
    return ", ".join(str(word) for word in words) or "none"
