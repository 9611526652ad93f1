"""How the money is shown by `/status` and `orchd status`."""

from __future__ import annotations

from orchd.domain.money import in_eth
from orchd.domain.state import Snapshot
from orchd.status_face import Json, Position, StatusFace
from orchd.text import TextStyle


def _whole(snapshot: Snapshot) -> Json:
    money = snapshot.money
    if money is None:
        return {"money": None}
    return {
        "money": {
            "sessions": money.sessions,
            # Whole wei, as texts: many programs read numbers as floats.
            "earned_today_wei": str(int(money.earned_today)),
            "earned_wei": str(int(money.earned)),
            "won_wei": str(money.won),
            "owed_wei": str(money.owed),
        }
    }


def _overview(status: Json, style: TextStyle) -> list[str]:
    money = status["money"]
    if money is None:
        return []
    amounts = {name.removesuffix("_wei"): in_eth(int(wei)) for name, wei in money.items() if name.endswith("_wei")}
    count = money["sessions"]
    said = f"Money: {count} paid session{'s'[: count != 1]} now; earned {amounts['earned_today']} today, "
    said += f"{amounts['earned']} in all; won {amounts['won']}, owed {amounts['owed']}"
    return ["", *style.hang(said)]


FACE = StatusFace(whole=_whole, overview={Position.MONEY: _overview})
