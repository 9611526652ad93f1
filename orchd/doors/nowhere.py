"""The last door of a listener that carries few: it takes nothing, and words the answers to what none takes. Pure."""

from __future__ import annotations

from typing import ClassVar

from orchd.domain.origins import Origin
from orchd.doors.base import Door
from orchd.doors.entrance import nothing_here
from orchd.doors.routes import Route, Served
from orchd.http1.rules import RequestHead


class NowhereDoor(Door):
    """Leads nowhere."""

    name: ClassVar[str] = "nowhere"
    origin: ClassVar[Origin] = Origin.DIRECT
    public: ClassVar[bool] = True

    def takes(self, path: str) -> bool:
        """No path at all."""
        return False

    def route(self, head: RequestHead, target: str, served: Served) -> Route:
        """Refuse it.

        Raises:
            JobRefused: UNKNOWN_MODEL.
        """
        raise nothing_here()
