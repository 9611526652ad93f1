"""Signals: everybody who has connected hears each piece of news, in order."""

from __future__ import annotations

import pytest

from orchd.domain.signal import Signal


def test_receivers_hear_the_news_in_the_order_in_which_they_connected() -> None:
    signal: Signal[str, int] = Signal()
    heard: list[tuple[str, str, int]] = []
    signal.emit("nobody hears this", 0)
    signal.connect(lambda word, number: heard.append(("first", word, number)))
    signal.connect(lambda word, number: heard.append(("second", word, number)))
    signal.emit("a", 1)
    assert heard == [("first", "a", 1), ("second", "a", 1)]


def test_who_connects_inside_a_receiver_hears_the_next_news() -> None:
    signal: Signal[int] = Signal()
    heard: list[int] = []
    signal.connect(lambda news: signal.connect(heard.append))
    signal.emit(1)
    assert heard == []
    signal.emit(2)
    assert heard == [2]


def test_what_a_receiver_raises_goes_to_the_emitter() -> None:
    signal: Signal[int] = Signal()
    signal.connect(lambda news: 1 // news)
    with pytest.raises(ZeroDivisionError):
        signal.emit(0)
