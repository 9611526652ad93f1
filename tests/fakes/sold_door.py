"""A door by which sessions are reserved and used, with nothing of any protocol: for tests below the doors.

`/s/SLUG/session` reserves, `/s/SLUG/session/ID/app...` rides, `/s/SLUG/app...` is a session by itself.
"""

from __future__ import annotations

from typing import ClassVar

from orchd.domain.origins import Origin
from orchd.doors.base import BY_STREAM_ID, Door, StreamNaming
from orchd.doors.own import Answered
from orchd.doors.routes import Reserve, Route, Served, ToRunner, by_slug, origin_form
from orchd.http1.rules import RequestHead


class SessionDoor(Door):
    """See above."""

    name: ClassVar[str] = "sessions"
    origin: ClassVar[Origin] = Origin.SOLD
    public: ClassVar[bool] = True
    sells: ClassVar[bool] = True
    naming: ClassVar[StreamNaming] = BY_STREAM_ID

    def takes(self, path: str) -> bool:
        return path.startswith("/s/")

    def route(self, head: RequestHead, target: str, served: Served) -> Route:
        _, _, slug, kind, *rest = origin_form(target).split("/")
        key = by_slug(slug, served)
        if kind == "app":
            return ToRunner(key, "/" + "/".join(rest), slug)
        if not rest:
            return Reserve(key, slug, lambda id: Answered(200, id.encode()))
        return ToRunner(key, "/" + "/".join(rest[2:]), slug, session=rest[0])
