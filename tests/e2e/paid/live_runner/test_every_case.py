"""No case of paid-live-runner.md 14 is left out."""

from __future__ import annotations

import re

from tests.day_two.walk import ROOT
from tests.e2e.paid.live_runner import test_cases_of_chain, test_cases_of_payments, test_cases_of_sessions
from tests.e2e.paid.live_runner.cases import PLAYED

PAGE = ROOT / "docs" / "protocol" / "paid-live-runner.md"
MODULES = (test_cases_of_chain, test_cases_of_payments, test_cases_of_sessions)
ELSEWHERE = {36: "tests/jobs/test_reserve.py"}
"""Cases that can't be made from outside, and who has them."""


def test_each_case_of_the_page_is_played() -> None:
    _, _, table = PAGE.read_text().partition("## 14. Negative cases")
    numbers = {int(each) for each in re.findall(r"^\| (\d+) \|", table.partition("## 15")[0], re.MULTILINE)}
    assert MODULES
    assert len(numbers) == 40
    assert PLAYED | ELSEWHERE.keys() == numbers
    assert all((ROOT / file).exists() for file in ELSEWHERE.values())
