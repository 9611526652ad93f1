"""What Live Runner's clients choose by, as it comes back: GPU, version, metadata. Pure.

Source: docs/protocol/live-runner.md, 2.1 and 7; docs/protocol/livepeer-node.md, 5.1 and 11.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orchd.domain.details import Details, Gpu


def load_details(said: Mapping[str, Any]) -> Details:
    """Return what `dump_details` has made, or a node's listing of it; go-livepeer leaves out what is empty in a GPU.

    Raises:
        TypeError, ValueError, AttributeError: it is something else.
    """
    gpu = said.get("gpu")
    found = Gpu(str(gpu.get("id", "")), str(gpu.get("name", "")), int(gpu.get("vram_mb", 0))) if gpu else None
    return Details(found, str(said.get("version", "")), str(said.get("metadata", "")))


def unlike(told: Details, listed: Details) -> str:
    """Return the names of those that are not listed as they were told; empty = all are."""
    return " and ".join(name for name in ("gpu", "version", "metadata") if getattr(told, name) != getattr(listed, name))
