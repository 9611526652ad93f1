"""Warnings about runners that would register themselves with the node, past orchd. Pure.

PyTrickle, ComfyStream and the example apps do that as soon as these variables are set: before the port listens and the
model is loaded, and with a URL, a capacity and a price of their own (docs/protocol/container.md, 4.1).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from orchd.catalog.draft import key_of
from orchd.catalog.parse import RawEntry
from orchd.domain.ids import ModelKey
from orchd.domain.model import ExternalLaunch, Model
from orchd.domain.state import Problem, Severity
from orchd.errors import Code

VARIABLES = ("ORCH_URL", "ORCH_SECRET")
"""Without a value for each of them, such a container does not register itself, or fails to."""


def self_registering(models: Mapping[ModelKey, Model], entries: Iterable[RawEntry], file: str) -> Iterator[Problem]:
    """Yield a warning for each model whose `env` has one of the variables."""
    entry_of = {key_of(raw): raw for raw in reversed([*entries])}
    for key, model in models.items():
        if isinstance(model.launch, ExternalLaunch):
            continue
        found = [name for name in VARIABLES if any(name == each and value for each, value in model.launch.env)]
        if not found:
            continue
        raw = entry_of.get(key)
        written = next((name for name in raw.value if name.lower() == "env"), "") if raw else ""
        yield Problem(
            Severity.WARNING,
            Code.ENTRY_INVALID,
            f"{' and '.join(found)}: with these the runner registers itself with the node, before it can serve and "
            "past orchd, which registers it already: take them out",
            file,
            raw.line_of(written) if raw and written else 0,
            entry=raw.index if raw else None,
            field=written or "env",
            key=key,
        )
