"""Payments that real senders sent to real receivers, and what these did: extracts of the recordings.

`python -m tests.tickets.validation.recordings FOLDER` makes them from the recordings in a folder, which are several
times as large; a clone has only the extracts.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[3]
EXTRACTS = ROOT / "tests" / "data" / "payments"
ORIGINALS = ROOT.parent / "shared" / "protocol" / "transcripts"
"""Where they are, if they are at hand."""
HEADERS = {
    "livepeer-payment": "payment",
    "livepeer-segment": "segment",
    "livepeer": "job",
    "livepeer-payer-address": "payer",
}
FILES = (
    *("onchain-payments", "onchain-expiry", "onchain-rounds", "onchain-restart"),
    *("onchain-stream", "onchain-winning"),
    *("paid-gl-live-session", "paid-node-live-session", "paid-node-glsigner-live-session", "paid-node-sdk-session"),
    *("paid-node-price-change", "paid-gl-credit-runs-out", "paid-node-credit-runs-out"),
    *("paid-gl-reserve-refusals", "paid-node-reserve-refusals", "paid-gl-topup-refusals", "paid-node-topup-refusals"),
    *("paid-gl-challenge", "paid-node-challenge", "paid-node-races", "paid-node-restart", "paid-node-rpc"),
    *("paid-node-single-shot", "paid-gl-signer", "paid-node-signer"),
)
TICKET_SIZES = "paid-node-ticket-size"
"""A recording of another form: tables of rounds."""
PARAMS = '"payment_params"'
ERROR = "Error processing payment: "


@dataclass(frozen=True)
class Recorded:
    """One request, if it bears a payment or its answer bears terms.

    Attributes:
        step: its label.
        target: path.
        status: of the answer; None = the connection was dropped.
        said: body of an answer that is not 200; or why the payment was refused, from the log, where there was none.
        payment, segment, job, payer: the headers; None = absent.
        challenge: JSON of the challenge on whose terms it pays, or of the one that answers it; None = neither.
        token: `ticket_params` and `price` of the token on whose terms it pays.
        block: L1 block at that moment, if it was noted.
        round: last initialized round, if it was noted.
        at_once: it was sent at the same moment as the steps beside it.
    """

    step: str
    target: str
    status: int | None
    said: str
    payment: str | None = None
    segment: str | None = None
    job: str | None = None
    payer: str | None = None
    challenge: dict[str, Any] | None = None
    token: dict[str, Any] | None = None
    block: int | None = None
    round: int | None = None
    at_once: bool = False


def extract(recording: Path) -> list[dict[str, Any]]:
    """Return what of a recording is kept."""
    kept = []
    look = signed if recording.stem.endswith("-signer") else received
    for step in json.loads(recording.read_text()):
        found = look(step)
        asks = recording.stem.endswith("-challenge") and found["target"].startswith("/apps/")
        if found["challenge"] or asks or found.keys() & {"payment", "segment"}:
            kept.append(found)
    return kept


def received(step: dict[str, Any]) -> dict[str, Any]:
    """Return what a receiver was sent, and did."""
    request, answer = step.get("request", {}), step.get("response") or {}
    sent = {name.lower(): value for name, value in dict(request.get("headers", {})).items()}
    status, body, token = answer.get("status"), answer.get("body") or "", step.get("token")
    refused = [line.partition(ERROR)[2] for line in step.get("orchestrator_log", ()) if ERROR in line]
    chain = step.get("chain", {})
    return {
        "step": step["step"].strip(),
        "target": request.get("target", ""),
        "status": status,
        "said": (refused[0] if refused else "" if status == 200 or PARAMS in body else body).strip()[:120],
        **{name: sent[header] for header, name in HEADERS.items() if header in sent},
        "challenge": step.get("challenge") or (json.loads(body) if PARAMS in body else None),
        "token": {name: token[name] for name in ("ticket_params", "price")} if token else None,
        "block": chain.get("block"),
        "round": chain.get("last_initialized_round"),
        **({"at_once": True} if "same_moment" in step else {}),
    }


def signed(step: dict[str, Any]) -> dict[str, Any]:
    """Return what a signer made of a challenge that it was given: the payment that a receiver would get."""
    body = (step.get("response") or {}).get("body") or ""
    found = {"step": step["step"].strip(), "target": "", "status": 200, "said": "", "challenge": None}
    if '"segCreds"' not in body:
        return found
    made, asked = json.loads(body), json.loads(step["request"]["body"])
    return found | {
        "payment": made["payment"],
        "segment": made["segCreds"],
        "payer": step["payment_decoded"]["sender"],
        "challenge": {"payment_params": asked["orchestrator"], "payment_url": ""},
        "block": step.get("block_now"),
    }


def rounds(recording: Path) -> list[dict[str, Any]]:
    """Return the runs of `TICKET_SIZES` in which something was paid."""
    kept = []
    for run in json.loads(recording.read_text()):
        rows = next((table for name, table in run.items() if name.startswith("rows")), None)
        if rows:
            found = {name: run[name] for name in ("step", "session_gone_after", "tickets_credited", "seconds_paid")}
            kept.append(found | {"rows": rows})
    return kept


def text(recording: Path) -> str:
    """Return the extract as it stands in its file."""
    found = rounds(recording) if recording.stem == TICKET_SIZES else extract(recording)
    return json.dumps(found, indent=0) + "\n"


def load(file: str) -> list[Recorded]:
    """Return the steps of a recording that have to do with payments."""
    return [Recorded(**step) for step in json.loads((EXTRACTS / f"{file}.json").read_text())]


if __name__ == "__main__":
    for name in (*FILES, TICKET_SIZES):
        (EXTRACTS / f"{name}.json").write_text(text(Path(sys.argv[1]) / f"{name}.json"))
