"""How the listener for payers is shown by `/status` and `orchd status`."""

from __future__ import annotations

from dataclasses import asdict

from orchd.domain.state import Snapshot
from orchd.status_face import Json, Position, StatusFace
from orchd.text import RED, YELLOW, TextStyle, ago, printable

SOON_S = 14 * 86400.0
"""A certificate that expires within this time is told of: those who renew by themselves do so well before."""

QUIET_S = 3600.0
"""If nobody comes for this long, it is told."""
_ASKED = {"discovery": "asked what is sold", "challenge": "asked for terms", "paid": "began to pay"}


def _whole(snapshot: Snapshot) -> Json:
    return {"public": asdict(snapshot.public) if snapshot.public else None}


def _section(status: Json, style: TextStyle) -> list[str]:
    public = status.get("public")
    if not public:
        return []
    facts = [_where(public)]
    certificate, colour = public["certificate"], None
    if not public["doors"]:
        colour = YELLOW
    if certificate:
        left_s = certificate["expires_at"] - status["at"]
        own = "its own certificate" if certificate["self_signed"] else "certificate"
        facts.append(f"{own} good for {ago(left_s)}" if left_s > 0 else f"{own} expired {ago(-left_s)} ago")
        colour = RED if left_s <= 0 else YELLOW if left_s < SOON_S or certificate["trouble"] else colour
    else:
        facts.append("without TLS")
    if public["runner_listen"]:
        facts.append(f"containers at {' and '.join(public['runner_listen'])}")
    troubles = [*filter(None, ((certificate or {}).get("trouble"), public["runner_trouble"]))]
    colour = colour or (YELLOW if public["runner_trouble"] else None)
    lines = [style.paint(line, colour) for line in style.hang(printable(f"Public: {', '.join(facts)}"))]
    for trouble in troubles:
        lines += style.wrap(printable(trouble), "    ")
    return lines + _clients(public["clients"], status["at"], style)


def _clients(clients: Json, now: float, style: TextStyle) -> list[str]:
    """Return in words whether clients of Live Runner's come."""
    if not clients:
        return []
    quiet_s = now - max(clients["since"], *(clients[f"{what}_at"] for what in _ASKED))
    if quiet_s >= QUIET_S:
        text = f"Clients: nobody has asked what is sold here for {ago(quiet_s)}; who is to find it must know its URL"
        return [style.paint(line, YELLOW) for line in style.hang(text)]
    facts = [
        f"{words} {ago(now - at)} ago" if (at := clients[f"{what}_at"]) else f"never {words}"
        for what, words in _ASKED.items()
    ]
    count = clients["payers"]
    return style.hang(f"Clients: {', '.join(facts)}; {count} {'payer' if count == 1 else 'payers'}")


def _where(public: Json) -> str:
    doors = " + ".join(public["doors"]) or "no door, all is 404"
    told = f"{public['url']}{public['base_path']} " if public["url"] else ""
    return f"{told}at {' and '.join(public['listen'])}: {doors}"


def _changes(status: Json) -> dict[str, str]:
    public = status.get("public")
    return {"public": printable(_where(public))} if public else {}


FACE = StatusFace(whole=_whole, overview={Position.PUBLIC: _section}, changes=_changes)
