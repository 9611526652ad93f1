"""Warnings for a file that go-livepeer is to read too: what it would panic over, refuse or not see. Pure.

Source: go-livepeer core/ai.go and cmd/livepeer/starter/starter.go, as restated in the live runner contract, section 9.
It reads the file once, at start; unknown keys are no matter to it, unknown pipelines are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from decimal import Decimal
from typing import Any

from orchd.catalog.draft import key_of
from orchd.catalog.names import is_comment, squash
from orchd.catalog.parse import RawEntry
from orchd.domain.state import Problem, Severity
from orchd.errors import Code

PIPELINES = frozenset(
    {
        *("text-to-image", "image-to-image", "image-to-video", "upscale", "audio-to-text", "segment-anything-2"),
        *("llm", "image-to-text", "live-video-to-video", "text-to-speech"),
    }
)
KEYS = (
    *("pipeline", "model_id", "url", "token", "warm", "capacity", "optimization_flags", "gateway"),
    *("price_per_unit", "pixels_per_unit", "currency"),
)
_BY_SQUASHED = {squash(key): key for key in KEYS}


def traps(entries: Iterable[RawEntry], file: str) -> tuple[Problem, ...]:
    """Return warnings: those about single fields by entry, those that every orchd file has in one line each."""
    rows = [raw for raw in entries if isinstance(raw.value, dict) and not raw.faults]
    return (*_of_the_file(rows, file), *(trap for raw in rows for trap in _of_an_entry(raw, file)))


def _of_the_file(rows: list[RawEntry], file: str) -> Iterator[Problem]:
    unknown: dict[str, None] = {}
    unpriced: list[int] = []
    warm_in: dict[tuple[str, str], bool] = {}
    mixed: dict[str, None] = {}
    for raw in rows:
        row = _as_read(raw)
        pipeline, model_id = row.get("pipeline"), row.get("model_id")
        if not isinstance(pipeline, str) or not isinstance(model_id, str):
            continue
        if pipeline not in PIPELINES:
            unknown[pipeline] = None
        if "price_per_unit" not in row:
            unpriced.append(raw.index + 1)
        warm = row.get("warm") is True
        if warm_in.setdefault((pipeline, model_id), warm) != warm:
            mixed[f"{pipeline}/{model_id}"] = None
    if unknown:
        yield _warning(file, f"go-livepeer panics at start over pipelines that it does not know: {_some(unknown)}")
    if unpriced:
        what = "go-livepeer on chain panics at start over an entry without a price unless -pricePerUnit is set"
        yield _warning(file, f"{what}: entries {_some(map(str, unpriced))}")
    if mixed:
        yield _warning(file, f"go-livepeer panics at start over models both warm and cold in one file: {_some(mixed)}")


def _of_an_entry(raw: RawEntry, file: str) -> Iterator[Problem]:
    row = _as_read(raw)

    def warn(name: str, message: str) -> Problem:
        written = next(written for written in raw.value if written.lower() == name.lower())
        return Problem(
            *(Severity.WARNING, Code.ENTRY_INVALID, message, file, raw.line_of(written)),
            entry=raw.index,
            field=written,
            key=key_of(raw),
        )

    if "price_per_unit" in row:
        price = row["price_per_unit"]
        if not _number(price):
            yield warn("price_per_unit", "go-livepeer refuses the file: it wants a number here, not text or null")
        elif price < 0:
            yield warn("price_per_unit", "go-livepeer panics at start over a negative price")
    pixels = row.get("pixels_per_unit", 1)
    if not _number(pixels) or pixels <= 0 or pixels != int(pixels):
        yield warn("pixels_per_unit", "go-livepeer panics at start: it wants a positive whole number here")
    flags = row.get("optimization_flags")
    if isinstance(flags, dict) and not all(flag is None or isinstance(flag, str | bool) for flag in flags.values()):
        yield warn("optimization_flags", "go-livepeer refuses the file: it wants text or true/false as values here")
    for written in raw.value:
        key = _BY_SQUASHED.get(squash(written))
        if key and written.lower() != key and key not in row and not is_comment(written):
            yield warn(written, f"go-livepeer does not see this key: it only reads {key}")


def _as_read(raw: RawEntry) -> dict[str, Any]:
    """Return the keys as go-livepeer matches them: without regard to case, but with their underscores."""
    return {written.lower(): value for written, value in raw.value.items()}


def _number(value: Any) -> bool:
    return isinstance(value, int | Decimal) and not isinstance(value, bool)


def _some(names: Iterable[str]) -> str:
    """Return the first few, so that a long file makes no long line."""
    listed = list(names)
    return ", ".join(listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")


def _warning(file: str, message: str) -> Problem:
    return Problem(Severity.WARNING, Code.FILE_MALFORMED, message, file)
