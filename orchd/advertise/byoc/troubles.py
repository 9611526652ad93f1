"""Says what goes wrong between BYOC's registry and us: each refusal once, and not again at every try."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from orchd.advertise.byoc import NAME
from orchd.advertise.byoc.registration import Registration
from orchd.advertise.byoc.standing import beside, contested, is_gone
from orchd.errors import Code, OrchdError

log = structlog.get_logger("orchd.advertise.byoc")

OF_THE_NODE = (Code.NODE_SECRET, Code.NODE_UNREACHABLE, Code.NODE_CERTIFICATE, Code.NOT_SPOKEN)
"""Codes that mean the same for each of a hundred models."""


class Troubles:
    """What has been said, and is not over.

    Args:
        count: called with registry and code at each call that failed.
        instance, callback_url: of this orchd, to tell it from another one.
    """

    def __init__(self, count: Callable[[str, str], None], instance: str, callback_url: str) -> None:
        self._ours = {"instance": instance, "callback_url": callback_url}
        self._count = count
        self._said: dict[str, str] = {}
        self._beside: dict[str, str] = {}
        self._of_the_node: Code | None = None
        self._check = ""

    def failed(self, name: str, error: OrchdError) -> None:
        """A call about a capability has failed."""
        self._count(NAME, error.code)
        if error.code in OF_THE_NODE:
            news, self._of_the_node = error.code is not self._of_the_node, error.code
        else:
            news, self._said[name] = error.message != self._said.get(name), error.message
        if news:
            log.warning("byoc_failed", capability=name, error=error.message, code=error.code)

    def over(self, name: str) -> None:
        """A call about it has gone well."""
        self._said.pop(name, None)
        self._of_the_node = None

    def looked(self, name: str, before: Registration, found: Registration, other: str) -> bool:
        """A token was seen; return whether the node was found to have lost the capability.

        Args:
            other: runner of another orchd that the node lists under the same name; empty = none is seen. Whether that
                orchd registers here, too, can't be seen if it has as many slots.
        """
        if other != self._beside.get(name, ""):
            self._beside[name] = other
            if other:
                log.warning("byoc_contested", capability=name, **self._ours, other=other, reason=beside(name))
        if found.contested and found.overtaken > before.overtaken and found.record is not None:
            log.warning("byoc_contested", capability=name, **self._ours, reason=contested(found.record))
        lost = is_gone(found) and not is_gone(before)
        if lost:
            log.warning("byoc_lost", capability=name)
        return lost

    def check_failed(self, name: str, error: OrchdError) -> None:
        """The node could not be asked for a token."""
        if error.message != self._check:
            log.warning("byoc_check_failed", capability=name, error=error.message, code=error.code)
        self._check = error.message
