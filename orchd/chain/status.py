"""How the chain is shown by `/status` and `orchd status`."""

from __future__ import annotations

from dataclasses import asdict

from orchd.domain.state import Snapshot
from orchd.status_face import Json, Position, StatusFace
from orchd.text import RED, YELLOW, TextStyle, ago, printable

_NAMES = {42161: "Arbitrum One"}


def _whole(snapshot: Snapshot) -> Json:
    return {"chain": asdict(snapshot.chain) if snapshot.chain else None}


def chain_line(chain: Json, now: float | None) -> str:
    """Return how well the chain is known; with `now`, Unix time, also since when."""
    name = _NAMES.get(chain["id"], f"chain {chain['id']}")
    if chain["read_at"] is None:
        return f"{name}: not read yet, so paid jobs are refused"
    facts = [f"round {chain['round']}"]
    if now is not None:
        facts += [f"L1 block {chain['l1_block']}", f"read {ago(max(0.0, now - chain['read_at']))} ago"]
    if not chain["usable"]:
        facts.append("too old to go by, so paid jobs are refused")
    elif not chain["fresh"]:
        facts.append(f"no RPC server answers, so only known payers are served, {_how_long(chain, now)}")
    if not chain["active"]:
        facts.append("the orchestrator is not active, so tickets are refused")
    return f"{name}: {', '.join(facts)}"


def _how_long(chain: Json, now: float | None) -> str:
    if now is None or chain.get("usable_until") is None:  # A daemon of before the update does not say.
        return "and not for long"
    return f"for {ago(max(0.0, chain['usable_until'] - now))} more"


def _servers(chain: Json) -> str:
    up = sum(server["up"] for server in chain["servers"])
    return f"{up} of {len(chain['servers'])} RPC servers answer"


def _section(status: Json, style: TextStyle) -> list[str]:
    if not (chain := status.get("chain")):  # A daemon of before the update does not say.
        return []
    down = [server for server in chain["servers"] if server["why"]]
    known = chain["usable"] and chain["active"]
    colour = RED if not known else YELLOW if down or not chain["fresh"] else None
    told = printable(f"{chain_line(chain, status['at'])}, {_servers(chain)}")
    lines = [style.paint(line, colour) for line in style.hang(told)]
    for server in down:
        lines += style.wrap(printable(f"{server['server']}: {server['why']}"), "    ")
    return lines


def _changes(status: Json) -> dict[str, str]:
    if not (chain := status.get("chain")):
        return {}
    return {"chain": printable(f"{chain_line(chain, None)}, {_servers(chain)}")}


FACE = StatusFace(whole=_whole, overview={Position.CHAIN: _section}, changes=_changes)
