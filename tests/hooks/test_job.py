"""What a hook can say about a job, and what it finds there again."""

from __future__ import annotations

from fractions import Fraction
from types import SimpleNamespace
from typing import Any

import pytest

from orchd.domain.money import PriceUnit
from orchd.hooks.job import Job, PayerLimits
from orchd.hooks.terms import Terms

OWN = Terms("image/org/one", Fraction(5), PriceUnit.HOUR)


def a_job(terms: Terms | None = OWN) -> Job:
    return Job(SimpleNamespace(terms_for=lambda payer: terms))


def test_what_is_kept_is_there_for_a_later_call() -> None:
    job, what = a_job(), object()
    assert job.kept("mine") is None
    job.keep("mine", what)
    assert job.kept("mine") is what


def test_a_job_has_one_account_id_and_no_other_job_has_it() -> None:
    job = a_job()
    assert job.account_id == job.account_id != a_job().account_id


def test_the_price_is_the_models_own_until_a_hook_sets_one_and_the_last_is_right() -> None:
    job = a_job()
    assert job.terms == OWN
    job.set_price(Fraction(7, 2))
    assert job.terms == Terms("image/org/one", Fraction(7, 2), PriceUnit.SECOND)
    job.set_price(0, PriceUnit.FIXED)
    assert job.terms == Terms("image/org/one", Fraction(0), PriceUnit.FIXED)


def test_without_a_model_there_are_no_terms() -> None:
    job = a_job(None)
    job.set_price(1)
    assert job.terms is None


@pytest.mark.parametrize("price", [1.5, "1", None, True])
def test_a_price_that_is_not_exact_is_no_price(price: Any) -> None:
    with pytest.raises(TypeError, match="cannot set the price"):
        a_job().set_price(price)


def test_a_price_is_not_negative() -> None:
    with pytest.raises(ValueError, match="cannot set the price"):
        a_job().set_price(-1)


def test_of_several_limits_the_lowest_counts() -> None:
    job = a_job()
    assert job.limits == PayerLimits(None, None)
    for sessions in (5, 3, 4):
        job.lower_limit(sessions)
        job.lower_limit(sessions + 10, of_all_models=True)
    assert job.limits == PayerLimits(3, 13)


@pytest.mark.parametrize("sessions", [-1, 1.0, True, None])
def test_a_limit_is_a_whole_number(sessions: Any) -> None:
    with pytest.raises(ValueError, match="cannot lower the limit"):
        a_job().lower_limit(sessions)
