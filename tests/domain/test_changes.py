"""What has changed since a reader looked last."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from orchd.domain.changes import Changes


@given(st.lists(st.sampled_from("abcde")), st.lists(st.sampled_from("abcde")))
def test_a_reader_is_told_of_each_key_that_changed_since_it_looked_once(before: list[str], after: list[str]) -> None:
    changes = Changes[str]()
    for key in before:
        changes.touch(key)
    seen = changes.version
    for key in after:
        changes.touch(key)
    found = changes.since(seen)
    assert sorted(found) == sorted(set(after))
    latest = [*reversed(after)]
    assert found == [key for at, key in enumerate(latest) if key not in latest[:at]], "the latest change first"
    assert set(changes.since(0)) == {*before, *after}
    assert changes.since(changes.version) == []
