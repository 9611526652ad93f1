"""`docs/reference/payments.md` explains every reason for which a payment is refused, with its statuses."""

from __future__ import annotations

import re

from orchd.tickets.validation.faults import Fault
from orchd.tickets.validation.schemes import BYOC, LIVE_RUNNER, Occasion, Scheme
from tests.reference_pages import DOCS

ROWS = re.findall(
    r"^\| (`[^|]+) \| ([\d, ]+) \| ([\d, ]+) \|", (DOCS / "reference" / "payments.md").read_text(), re.MULTILINE
)


def told(scheme: Scheme, fault: Fault) -> str:
    """What a row says of the answers to it: one status, or that of a start and that of a top-up."""
    return ", ".join(dict.fromkeys(str(scheme.status(fault.blame, occasion)) for occasion in Occasion))


def test_every_reason_is_there_once_with_the_status_that_each_scheme_answers() -> None:
    explained = [(code, byoc, live) for codes, byoc, live in ROWS for code in re.findall(r"`(\w+)`", codes)]
    assert sorted(explained) == sorted((str(each), told(BYOC, each), told(LIVE_RUNNER, each)) for each in Fault)
