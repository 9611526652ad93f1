"""What a path of Live Runner's clients asks for. Pure, and linear in its length.

The words of a path are compared byte for byte: one that is spelled in another way (`/apps//x`, `/%61pps/x`) asks for
nothing here, so that no spelling leads round a check. What follows `app/` is the runner's own, and is passed on byte
for byte, `%2F` included: what arrives there is what the client has sent. Empty and dot segments in it are answered as
Livepeer Node answers them: with a redirect to the path without them, or with 400 where the path would climb.

Source: docs/protocol/livepeer-node.md, 4 and 9.1.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

APPS, DISCOVERY, REFRESH = "/apps/", "/discovery", "/refresh-payment"


class Asks(StrEnum):
    """What a path asks for. The value names the route in metrics, where orchd answers it itself."""

    DISCOVERY = "discovery"
    RESERVE = "challenge"
    STOP = "stop"
    TOP_UP = "payment"
    REFRESH = "refresh"
    IN_SESSION = "session"
    SINGLE_SHOT = "single-shot"


@dataclass(frozen=True, slots=True)
class ClientPath:
    """What a path asks for.

    Attributes:
        slug: of the model; empty = it names none.
        session: id of the session; empty = it names none.
        rest: what follows `app/`, for the runner.
    """

    asks: Asks
    slug: str = ""
    session: str = ""
    rest: str = ""


_PLAIN = {DISCOVERY: ClientPath(Asks.DISCOVERY), REFRESH: ClientPath(Asks.REFRESH)}
_OF_SESSION = {"stop": Asks.STOP, "payment": Asks.TOP_UP, "payment/refresh-payment": Asks.REFRESH}


def read_path(path: str) -> ClientPath | None:
    """Return what a path without its query asks for; None = nothing of these."""
    if not path.startswith(APPS):
        return _PLAIN.get(path)
    slug, _, words = path.removeprefix(APPS).partition("/")
    if not slug:
        return None
    if words == "session":
        return ClientPath(Asks.RESERVE, slug)
    if (rest := _below_app(words)) is not None:
        return ClientPath(Asks.SINGLE_SHOT, slug, rest=rest)
    word, _, words = words.partition("/")
    session, _, words = words.partition("/")
    if word != "session" or not session:
        return None
    if (rest := _below_app(words)) is not None:
        return ClientPath(Asks.IN_SESSION, slug, session, rest)
    asks = _OF_SESSION.get(words)
    return None if asks is None else ClientPath(asks, slug, session)


def cleaned(rest: str) -> str:
    """Return what follows `app/` without empty segments and plain dots; the same text if it has none."""
    if "//" not in f"/{rest}" and "." not in rest:
        return rest
    *folders, last = rest.split("/")
    kept = [segment for segment in folders if segment not in ("", ".")]
    return "/".join([*kept, "" if last == "." else last])


def app_path(slug: str, session: str) -> str:
    """Return the path below which the runner's own begins, without a slash at its end."""
    return f"{APPS}{slug}/session/{session}/app" if session else f"{APPS}{slug}/app"


def _below_app(words: str) -> str | None:
    return "" if words == "app" else words.removeprefix("app/") if words.startswith("app/") else None
