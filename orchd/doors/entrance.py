"""What a listener carries: its doors, and what holds for all that comes by them. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from orchd.doors.base import Door
from orchd.doors.routes import origin_form
from orchd.errors import Code, JobRefused
from orchd.http1.rules import RequestHead


class OwnAnswerKeeper(Protocol):
    """Bounds and counts the requests that doors answer themselves.

    Attributes:
        seconds: longest time of one answer, once its request is whole.
    """

    @property
    def seconds(self) -> float: ...

    def timeout(self) -> AbstractAsyncContextManager[object]:
        """Return what raises TimeoutError after `seconds`; the time in which orchd itself stood still is left out."""

    def limit_address(self, peer: str) -> None:
        """Count a request from this address.

        Raises:
            JobRefused: RATE_LIMITED: there were too many.
        """

    def check_address(self, peer: str) -> None:
        """As `limit_address`, but count nothing: it is not known yet whether the request counts."""

    def limit_payer(self, payer: str) -> None:
        """As `limit_address`, for who pays."""

    def answered(self, door: str, route: str, status: int) -> None:
        """Count an answer; status 0 = its caller has left before."""

    def not_found(self) -> None:
        """Count a request that no door takes."""


@dataclass(frozen=True, slots=True)
class Entrance:
    """One listener's doors.

    Attributes:
        doors: in the order in which they are tried; the last one answers what none takes.
        base_path: what stands before every path here; empty, or begins with a slash and does not end with one.
        peer_of: the caller's address by that of its connection and the head; None = the connection's.
        own: keeps what the doors answer themselves; None = it is our own side that asks, and none does.
        scheme: of the URLs that clients know: `https` also where a proxy of the operator's ends TLS.
    """

    doors: Sequence[Door]
    base_path: str = ""
    peer_of: Callable[[str, RequestHead], str] | None = None
    own: OwnAnswerKeeper | None = None
    scheme: str = "http"

    @property
    def silent_s(self) -> float:
        """For how many seconds a client may be connected before it sends its request; 0 = no longer than usual."""
        return max((door.silent_s for door in self.doors), default=0.0)

    def below(self, target: str) -> str:
        """Return what follows `base_path` in a request target, as its doors see it.

        Byte for byte: a path that is spelled in another way is not below it. What a door has at the root, too, is
        returned as it is.

        Raises:
            JobRefused: UNKNOWN_MODEL.
        """
        base = self.base_path
        if not base:
            return target
        target = origin_form(target)
        rest = target[len(base) :]
        if not target.startswith(base) or rest[:1] not in ("", "/", "?"):
            path = target.partition("?")[0]
            if any(path in door.at_root for door in self.doors):
                return target
            raise nothing_here()
        return rest if rest.startswith("/") else f"/{rest}"

    def enter(self, target: str) -> Door:
        """Return the first door that takes a request with this target, as `below` returns it.

        Raises:
            JobRefused: UNKNOWN_MODEL: none of them does.
        """
        path = origin_form(target).partition("?")[0]
        for door in self.doors:
            if door.takes(path):
                return door
        raise nothing_here()


def nothing_here() -> JobRefused:
    """Return what is told where no door takes a request. The path is not quoted: it may be the node's, with a secret
    in it.
    """
    return JobRefused(Code.UNKNOWN_MODEL, "cannot serve the request: nothing is served under its path here")
