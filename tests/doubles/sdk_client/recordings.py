"""What the SDK did on each answer: an extract of the recording, 152 cases.

`python -m tests.doubles.sdk_client.recordings FOLDER` makes it from the recordings in a folder.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from tests.doubles.signer.recordings import EXTRACTS

NAME = "paid-gl-sdk-reactions.json"
GAVE_UP = "client_gave_up_after"


@dataclass(frozen=True)
class Exchanged:
    """One request of a case.

    Attributes:
        t: seconds since the case began.
        kind: what it asks for; the number of such requests before it makes it unique.
        second: it goes to the second candidate.
        status: None = no answer, or none that was waited for.
        put_in: the answer given in place of the real program's.
        gave_up_s: after so many seconds the client did.
    """

    t: float
    kind: str
    second: bool
    status: int | None
    put_in: dict[str, Any] | None
    gave_up_s: float | None


@dataclass(frozen=True)
class Case:
    """An answer put in, what the SDK sent, and what its user saw."""

    step: str
    saw: dict[str, Any]
    exchanges: tuple[Exchanged, ...]


def extract(recording: Path) -> list[dict[str, Any]]:
    """Return what of the recording is kept."""
    kept = []
    for step in json.loads(recording.read_text())[1:]:
        rows = [
            [each["t"], each["kind"], bool(each["second_runner"]), *map(each.get, ("status", "put_in", GAVE_UP))]
            for each in step["exchanges"]
        ]
        kept.append({"step": step["step"], "saw": step["sdk_saw"], "exchanges": rows})
    return kept


def text(recording: Path) -> str:
    """Return the extract as it stands in its file: one case a line."""
    return "[\n" + ",\n".join(json.dumps(case) for case in extract(recording)) + "\n]\n"


@cache
def load() -> list[Case]:
    """Return all cases."""
    return [
        Case(case["step"], case["saw"], tuple(Exchanged(*row) for row in case["exchanges"]))
        for case in json.loads((EXTRACTS / NAME).read_text())
    ]


if __name__ == "__main__":
    (EXTRACTS / NAME).write_text(text(Path(sys.argv[1]) / NAME))
