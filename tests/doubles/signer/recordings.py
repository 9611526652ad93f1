"""What two real signers were asked and answered: extracts of the recordings.

`python -m tests.doubles.signer.recordings FOLDER` makes them from the recordings in a folder. Payments stand in
`tests/data/payments` already, and are put back in when an extract is loaded.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.tickets.validation import recordings
from tests.tickets.validation.recordings import ROOT

EXTRACTS = ROOT / "tests" / "data" / "signers"
FILES = ("paid-gl-signer", "paid-node-signer")
SESSIONS = (
    *("paid-gl-live-session", "paid-node-live-session", "paid-node-glsigner-live-session"),
    "paid-node-sdk-session",
)
PAYING = "/generate-live-payment"


@dataclass(frozen=True)
class Exchange:
    """A request and its answer.

    Attributes:
        t: seconds since the recording began.
        answered: status, body, and the headers that matter, with their names in lower case.
        block: L1 block at that moment, if it was noted.
    """

    step: str
    t: float
    method: str
    target: str
    body: str
    answered: tuple[int, str, dict[str, str]]
    block: int | None


def extract(recording: Path) -> list[dict[str, Any]]:
    """Return what of a recording is kept."""
    return [_kept(step) for step in json.loads(recording.read_text()) if "request" in step]


def _kept(step: dict[str, Any]) -> dict[str, Any]:
    request, response = step["request"], step["response"]
    body, said = request.get("body") or "", response["body"]
    if '"segCreds"' in said:
        body = json.loads(body)
        body["orchestrator"] = None
        said = {"state": json.loads(said)["state"]}
    names = ("Content-Type", "Allow", "Livepeer-Orchestrator-Url")
    headers = {name: value for name, value in response["headers"] if name in names}
    kept = {"step": step["step"].strip(), "t": step["t"], "method": request["method"], "target": request["target"]}
    return (
        kept
        | {"body": body, "status": response["status"], "said": said, "headers": headers}
        | ({"block": step["block_now"]} if "block_now" in step else {})
    )


def turns(recording: Path) -> list[dict[str, Any]]:
    """Return what a client asked its signer in the course of a session; states and payments are left out."""
    kept: list[dict[str, Any]] = []
    for step in json.loads(recording.read_text()):
        if step.get("request", {}).get("target") != PAYING:
            continue
        asked, state = json.loads(step["request"]["body"]), step.get("state_decoded", {})
        first = asked.pop("state", None) is None
        turn = {"t": step["t"], "first": first, "asked": asked, "status": step["response"]["status"]}
        kept.append(turn | {name: state[name] for name in ("LastUpdate", "Balance") if name in state})
    for turn, former in zip(kept[:0:-1], kept[-2::-1], strict=True):
        if turn["asked"] == former["asked"]:
            turn["asked"] = None
    return kept


def text(recording: Path) -> str:
    """Return the extract as it stands in its file."""
    look = turns if recording.stem in SESSIONS else extract
    return json.dumps(look(recording), indent=0) + "\n"


@cache
def load(file: str) -> list[Exchange]:
    """Return all exchanges of a recording, whole."""
    paid = {each.step: each for each in recordings.load(file)}
    return [_whole(row, paid) for row in json.loads((EXTRACTS / f"{file}.json").read_text())]


def _whole(row: dict[str, Any], paid: dict[str, recordings.Recorded]) -> Exchange:
    body, said = row["body"], row["said"]
    if isinstance(said, dict):
        made = paid[row["step"]]
        assert made.challenge is not None
        body = json.dumps(body | {"orchestrator": made.challenge["payment_params"]})
        answer = {"payment": made.payment, "segCreds": made.segment, **said}
        said = json.dumps(answer, separators=(",", ":")) + "\n"
    answered = (row["status"], said, row["headers"])
    return Exchange(row["step"], row["t"], row["method"], row["target"], body, answered, row.get("block"))


if __name__ == "__main__":
    EXTRACTS.mkdir(exist_ok=True)
    for name in (*FILES, *SESSIONS):
        (EXTRACTS / f"{name}.json").write_text(text(Path(sys.argv[1]) / f"{name}.json"))
