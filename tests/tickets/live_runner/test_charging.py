"""Whatever is paid and served in whatever order: whole seconds are charged, as far as they are covered."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchd.tickets.ledger.ports import LedgerKey, Manifest
from orchd.tickets.live_runner.charging import Charging
from orchd.tickets.validation.credit import NS_PER_S, Balance
from tests.fakes.ledger import FakeLedger
from tests.fakes.sold import FakeSold
from tests.jobs.model import KEY
from tests.soak import examples

ACCOUNT = LedgerKey("live-runner", b"\1" * 20, "session_a")
STEPS = st.lists(
    st.tuples(st.fractions(0, 5, max_denominator=7), st.integers(0, 4 * NS_PER_S)), min_size=1, max_size=20
)
"""Each step: seconds that are paid for, and nanoseconds that are served then."""


@pytest.mark.soak
@settings(max_examples=examples(2000, share=0.05), deadline=None)
@given(st.integers(1, 10**13), STEPS, st.integers(0, 19))
def test_a_session_pays_for_whole_seconds_until_the_first_that_is_not_covered(
    price: int, steps: list[tuple[Fraction, int]], restart: int
) -> None:
    ledger, sold = FakeLedger(), FakeSold()
    manifest = Manifest(ACCOUNT, KEY.slug, KEY, Fraction(price), fixed=False, persistent=True, issued_at=0)
    ledger.manifests[manifest.id] = manifest
    charging = Charging(ledger, sold, lambda: 0.0)
    session = sold.begin(manifest.id, KEY, "account")
    charging.begin("account", manifest, session)
    paid, charged_before, served_ns, covered = Fraction(), 0, 0, True
    for number, (seconds, ns) in enumerate(steps):
        paid += seconds * price
        ledger.balances[ACCOUNT] = Balance(ledger.balances[ACCOUNT].wei + seconds * price)
        if number == restart:  # What is not a whole second yet is nobody's.
            ledger.running.clear()
            charged_before, served_ns = charged_before + served_ns // NS_PER_S, 0
            charging = Charging(ledger, sold, lambda: 0.0)
        served_ns += ns
        sold.served[manifest.id] = served_ns / NS_PER_S
        served_ns = sold.served_ns(session)
        covered = charging.charge("account")
        whole, most = charged_before + served_ns // NS_PER_S, paid // price
        assert covered is (whole <= most)
        assert ledger.balances[ACCOUNT].wei == paid - min(whole, most) * price >= 0
        if not covered:
            break
