"""The node's trickle server, mounted at /ai/trickle/ on the service port."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.doubles.shared.trickle_server import TrickleServer

if TYPE_CHECKING:
    from tests.doubles.golivepeer.node import Node


class Trickle(TrickleServer):
    def __init__(self, node: Node) -> None:
        super().__init__(node.clock)
