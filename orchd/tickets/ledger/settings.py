"""The section `[ledger]`."""

from __future__ import annotations

from pydantic import Field

from orchd.settings.section import Positive, Section


class LedgerSettings(Section):
    """How payers' balances are kept."""

    charge_every_s: Positive = Field(
        5.0,
        description="How many seconds pass before the charges of running sessions are written: a crash costs at most "
        "that much of each session. Each payment and each end of a session writes them, too.",
    )
    keep_credit_days: Positive = Field(
        7.0,
        description="How many days a credit is kept that its payer neither adds to nor uses; then it is yours. A debt "
        "is kept for ever. What is left on sessions of Live Runner's clients goes earlier if it is left on more than "
        "100,000 of them: that which was not used for longest. What goes is counted and in the journal (forfeited).",
    )
