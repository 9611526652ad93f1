"""The two headers of a paid request: who pays for which session, and what it was promised. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchd.domain.ids import ModelKey
from orchd.tickets.ledger.ports import LedgerKey, Manifest
from orchd.tickets.validation.faults import Fault, PaymentRefused
from orchd.tickets.validation.grants import AuthKey, Grant, check_grant, read_auth_token
from orchd.tickets.validation.payment import Payment, read_payment
from orchd.tickets.validation.schemes import LIVE_RUNNER
from orchd.tickets.validation.segments import check_segment, read_segment


@dataclass(frozen=True, slots=True)
class Paid:
    """A payment whose credentials are in order; its tickets were not looked at.

    Attributes:
        manifest: the session that it names.
        grant: what that was promised.
    """

    manifest: str
    grant: Grant
    payment: Payment

    def agreed(self, model: ModelKey) -> Manifest:
        """Return what was agreed on, as the ledger keeps it with the first credit."""
        grant = self.grant
        return Manifest(
            key=LedgerKey(LIVE_RUNNER.name, grant.payer, self.manifest),
            runner=grant.runner,
            model=model,
            price=grant.price,
            fixed=grant.fixed,
            persistent=not grant.single_shot,
            issued_at=grant.issued_at,
        )


def read_paid(segment: bytes, payment: bytes, keys: Mapping[int, AuthKey], *, runner: str, now: int) -> Paid:
    """Return what the headers `Livepeer-Segment` and `Livepeer-Payment` say. What is cheap to check comes first.

    Args:
        keys: by which auth tokens are known again, by id.
        runner: the model, as the path names it.
        now: Unix time, seconds.

    Raises:
        PaymentRefused: they can't be read, are not the payer's, or its challenge does not hold for this runner and now.
    """
    credentials = read_segment(segment)
    grant = read_auth_token(credentials.auth, keys)
    paid = read_payment(payment)
    if not paid.sender:
        raise PaymentRefused(Fault.SENDER_MISSING, "cannot take the payment: it names no sender")
    check_grant(grant, credentials.auth, runner=runner, payer=paid.sender, now=now)
    check_segment(credentials, paid.sender)
    return Paid(credentials.manifest, grant, paid)
