"""What is to be found of a model that an operator stops and starts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orchd.advertise.offer import OfferBook
from orchd.domain.state import BY_OPERATOR, Stopped
from tests.fakes.snapshots import NOW, snapshot


@pytest.mark.parametrize("grace_s", [0.0, 3600.0])
def test_a_stopped_model_is_offered_no_more_whatever_the_grace_and_again_when_it_is_started(grace_s: float) -> None:
    known = snapshot()
    key, one = next((key, one) for key, one in known.models.items() if one.ready)
    book = OfferBook(name="{pipeline}/{model_id}", offer_cold=True, grace_s=grace_s)
    assert key in book.update(known, known.models).now
    stopped = replace(one, ready=False, stopped=Stopped("alice", NOW), reason=f"{BY_OPERATOR}; its sessions may go on")
    offers = book.update(replace(known, models={**known.models, key: stopped}), [key])
    assert key not in offers.now
    assert offers.why_not[key] == BY_OPERATOR
    assert key in book.update(known, [key]).now
