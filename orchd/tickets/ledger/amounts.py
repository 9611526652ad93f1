"""Wei as text, exactly. Pure.

A ticket is worth face value * win probability / (2**256 - 1), and a unit of work costs its price. So the denominator of
a balance divides 2**256 - 1 times the denominators of the prices that were charged to it. orchd quotes whole wei: then
it has at most 256 bits, however many tickets are added up.
"""

from __future__ import annotations

from fractions import Fraction


def to_text(wei: Fraction) -> str:
    """Return the amount as it is stored: `123`, or `123/456`."""
    return str(wei)


def from_text(text: str) -> Fraction:
    """Return what `to_text` has written. Several times as fast as `Fraction` of the text.

    Raises:
        ValueError, ZeroDivisionError: it is no amount.
    """
    numerator, _, denominator = text.partition("/")
    return Fraction(int(numerator), int(denominator)) if denominator else Fraction(int(numerator))
