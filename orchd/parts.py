"""The parts of orchd by name, without importing any: who walks this list finds the faces of each.

`app.py` makes the parts, in this order. Here they stand for those that need only one face of each: the settings, the
page of status, the metrics, the reference pages. `faces("status")` imports `status.py` of each part that has one, and
nothing else of it.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import NamedTuple


class PartEntry(NamedTuple):
    """One part, as those that only walk the list need it.

    Attributes:
        name: as `Part.name`.
        package: its folder, or its only file.
        switch: the setting that switches it on; empty = it is always on.
    """

    name: str
    package: str
    switch: str = ""


PARTS = (
    PartEntry("ground", "orchd.ground"),
    PartEntry("database", "orchd.database"),
    PartEntry("history", "orchd.history"),
    PartEntry("rpc", "orchd.rpc", switch="chain.rpc_url_file"),
    PartEntry("chain", "orchd.chain", switch="chain.id"),
    PartEntry("rate", "orchd.rate", switch="orchestrator.eth_usd"),
    PartEntry("runtime", "orchd.runtime"),
    PartEntry("sessions", "orchd.sessions"),
    PartEntry("health", "orchd.health"),
    PartEntry("catalog", "orchd.catalog"),
    PartEntry("reconcile", "orchd.reconcile"),
    PartEntry("systemd", "orchd.notify"),
    PartEntry("realtime", "orchd.realtime"),
    PartEntry("channels", "orchd.channels", switch="public.doors"),
    PartEntry("sold", "orchd.sold", switch="public.doors"),
    PartEntry("node", "orchd.node", switch="orchestrator.service_url"),
    PartEntry("ledger", "orchd.tickets.ledger", switch="hooks.order"),
    PartEntry("tickets", "orchd.tickets", switch="hooks.order"),
    PartEntry("hooks", "orchd.hooks"),
    PartEntry("jobs", "orchd.jobs"),
    PartEntry("admin", "orchd.admin"),
    PartEntry("control", "orchd.control"),
    PartEntry("reload", "orchd.reload"),
    PartEntry("state directory", "orchd.state_dir"),
    PartEntry("advertise", "orchd.advertise", switch="orchestrator.service_url"),
    PartEntry("public", "orchd.public", switch="public.listen"),
)
"""In start order."""


def faces(face: str) -> Iterator[ModuleType]:
    """Import and yield the module of this name of each part that has one, in start order, each once.

    Args:
        face: `settings`, `status` or `metrics`.
    """
    for package in dict.fromkeys(entry.package for entry in PARTS):
        name = f"{package}.{face}"
        if _is_folder(package) and find_spec(name) is not None:
            yield import_module(name)


def _is_folder(package: str) -> bool:
    found = find_spec(package)
    return found is not None and found.submodule_search_locations is not None
