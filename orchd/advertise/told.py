"""Tells the history how the node and its registries take what is offered. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from orchd.domain.ids import ModelKey
from orchd.domain.offer import NodeStatus, Published
from orchd.errors import Code
from orchd.history.ports import History, Kind

_OF_THE_NODE = (Code.NODE_UNREACHABLE, Code.NODE_CERTIFICATE)
"""Errors that are told once for the node, and not for each of a hundred models."""


class OffersTold:
    """Told of each change, it notes those that a person cares for."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._node = NodeStatus()

    def node(self, status: NodeStatus) -> None:
        """Note that the node has come, gone or been restarted."""
        before, self._node = self._node, status
        if status.epoch != before.epoch or (status.up and not before.up):
            registries = ", ".join(status.registries) or "none that orchd speaks"
            how = "has been started" if status.epoch != before.epoch else "answers again"
            version = f", version {status.version}" if status.version else ""
            self._history.note(Kind.NODE_UP, f"{status.name} {how}{version}; registries: {registries}")
        elif not status.up and (before.up or status.error != before.error):
            self._history.note(Kind.NODE_DOWN, status.error)

    def published(
        self,
        registry: str,
        key: ModelKey,
        before: Published | None,
        now: Published | None,
        why_not: Mapping[ModelKey, str],
    ) -> None:
        """Note that a model has come into a registry of the node, has gone from it, or is refused there.

        Args:
            why_not: of models that are not offered, as in `Offers`.
        """
        # One that is full is left out until a slot is free, maybe every second: it counts as there.
        was, is_there = _is_there(before), _is_there(now)
        if now is not None and is_there and not was:
            self._history.note(Kind.REGISTERED, f"{registry}: {now.price}" if now.price else registry, about=key)
        elif was and not is_there:
            self._history.note(Kind.WITHDRAWN, f"{registry}: {self._why_gone(registry, key, now, why_not)}", about=key)
        elif now is not None and not is_there and _is_news(before, now):
            self._history.note(Kind.NOT_REGISTERED, f"{registry}: {now.error}", about=key)

    def _why_gone(self, registry: str, key: ModelKey, now: Published | None, why_not: Mapping[ModelKey, str]) -> str:
        node = self._node
        if node.epoch and registry not in node.registries:
            return node.error or f"{node.name} has no such registry"
        if now is not None and now.wanted:
            return now.error or "the node has lost it"
        return why_not.get(key) or "it is not offered any more"


def _is_there(one: Published | None) -> bool:
    return one is not None and (one.published or one.full)


def _is_news(before: Published | None, now: Published) -> bool:
    """Return whether a model has an error that it had not before, and that is its own."""
    return bool(now.error) and (before is None or before.error != now.error) and now.code not in _OF_THE_NODE
