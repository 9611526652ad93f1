"""Balances, and how work is charged to them. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from typing import NamedTuple

from orchd.tickets.validation.faults import Fault, PaymentRefused
from orchd.tickets.validation.schemes import Rounding, Scheme

NS_PER_S = 10**9


class BalanceKey(NamedTuple):
    """Whose credit for what.

    Attributes:
        payer: 20 bytes.
        work: the capability (BYOC) or the manifest (Live Runner).
    """

    payer: bytes
    work: str


@dataclass(frozen=True, slots=True)
class Balance:
    """What a payer has in hand, in wei, exactly. Below zero it is a debt, which is never forgotten."""

    wei: Fraction = Fraction()

    def credited(self, wei: Fraction) -> Balance:
        """Return it after a payment."""
        return Balance(self.wei + wei)

    def charged(self, units: int, price: Fraction) -> Balance:
        """Return it after work."""
        return Balance(self.wei - units * price)

    def units_covered(self, price: Fraction) -> int | None:
        """Return how many units it still pays for; None = any number: they are free."""
        return max(0, self.wei // price) if price else None

    def require(self, units: int, price: Fraction) -> None:
        """Check that it covers so many units.

        Raises:
            PaymentRefused.
        """
        short = units * price - self.wei
        if short > 0:
            raise PaymentRefused(
                Fault.CREDIT_SHORT,
                f"cannot begin: the balance is {rounded(self.wei)} wei and must be {rounded(units * price)}",
            )


def rounded(wei: Fraction) -> int:
    """Return whole wei for a header or a text: to the nearest, halves away from zero."""
    half_up = (2 * abs(wei) + 1) // 2
    return half_up if wei >= 0 else -half_up


@dataclass(frozen=True, slots=True)
class Meter:
    """What a session has been charged so far.

    Attributes:
        price: wei per unit, pinned when the session began.
        rounding: of time; None = one unit for all of it.
        units: that were charged.
    """

    price: Fraction
    rounding: Rounding | None
    units: int = 0

    def after(self, elapsed_ns: int) -> Meter:
        """Return it when the session has been served this long in all; never less than before.

        Args:
            elapsed_ns: by a monotonic clock, without the time in which nothing could be served.
        """
        return replace(self, units=max(self.units, units_of(elapsed_ns, self.rounding)))

    def due_since(self, before: Meter) -> int:
        """Return the units that are to be charged since an earlier state."""
        return self.units - before.units

    def ends_at_ns(self, balance: Balance) -> int | None:
        """Return the served time at which the first unit comes due that this balance does not cover; None = never."""
        covered = balance.units_covered(self.price)
        if covered is None or self.rounding is None:
            return None
        last = self.units + covered
        return (last if self.rounding is Rounding.STARTED else last + 1) * NS_PER_S


def units_of(elapsed_ns: int, rounding: Rounding | None) -> int:
    """Return the units of a session that was served this long."""
    match rounding:
        case None:
            return 1
        case Rounding.STARTED:
            return -(-max(0, elapsed_ns) // NS_PER_S)
        case Rounding.WHOLE:
            return max(0, elapsed_ns) // NS_PER_S


def meter_of(scheme: Scheme, price: Fraction, *, fixed: bool = False) -> Meter:
    """Return the meter of a new session.

    Args:
        price: per second; with `fixed` for the whole session.
    """
    return Meter(price, None if fixed else scheme.rounding)


def minimum_units(scheme: Scheme, *, fixed: bool = False) -> int:
    """Return how many units a balance must cover before a session begins."""
    return 1 if fixed else scheme.minimum_s
