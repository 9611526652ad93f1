"""From what a runner needs to the fingerprint of its generation: the same in all versions of orchd. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Hashable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

# Fields of the first release (6df4ce4), which made fingerprints of all of them, whatever their values. A later field
# counts only where it is not at its default, so that an upgrade alone makes no new generation and restarts nothing.
# Never add to these lists; give every new field a default that means "as before". A field at another value than its
# default by the resolver's own doing, not by the entry's, would break that: `tests/upgrade/test_upgrade.py` notices.
FIRST_FIELDS: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "ContainerLaunch": frozenset(
            {
                *("image", "port", "entrypoint", "args", "env", "volumes", "gpus", "memory_bytes", "shm_bytes", "cpus"),
                *("user", "cap_add", "labels", "init", "stop_signal", "kind"),
            }
        ),
        "ProcessLaunch": frozenset({"argv", "cwd", "env", "kind"}),
        "ExternalLaunch": frozenset({"address", "kind"}),
        "GpuRequest": frozenset({"mode", "count", "ids"}),
        "Address": frozenset({"host", "port", "scheme", "base_path"}),
    }
)
_NEVER = frozenset({"pull"})


@lru_cache(maxsize=4096)
def fingerprint(launch: Hashable) -> str:
    """Return 12 hex digits that differ where runners of one definition could not stand in for those of another."""
    text = json.dumps(needs(launch), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def needs(value: Any) -> Any:
    """Return `value` as JSON holds it, without fields that came after the first release and are at their defaults."""
    first = next((FIRST_FIELDS[t.__name__] for t in type(value).__mro__ if t.__name__ in FIRST_FIELDS), frozenset())
    if is_dataclass(value):
        counted = {
            f.name: getattr(value, f.name) for f in fields(value) if f.name in first or not _at_default(value, f)
        }
        return {name: needs(each) for name, each in counted.items() if name not in _NEVER}
    if isinstance(value, tuple) and hasattr(value, "_fields"):  # A list in JSON, so only the last ones can be left out.
        names = list(getattr(value, "_fields", ()))
        defaults: Mapping[str, Any] = getattr(value, "_field_defaults", {})
        while names[-1] not in first and getattr(value, names[-1]) == defaults.get(names[-1], MISSING):
            names.pop()
        return [needs(getattr(value, name)) for name in names]
    if isinstance(value, tuple):
        return [needs(each) for each in value]
    return value


def _at_default(value: Any, field: Field[Any]) -> bool:
    default = field.default_factory() if field.default_factory is not MISSING else field.default
    return bool(getattr(value, field.name) == default)
