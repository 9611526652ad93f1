"""What the kernel would say of connections that are fakes."""

from __future__ import annotations

import pytest

from orchd.relay.wire import Wire
from tests.relay.transport import FakeTransport


@pytest.fixture(autouse=True)
def kernel_of_fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    def acked(end: Wire) -> int:
        assert isinstance(end.transport, FakeTransport)
        return len(end.transport.sent) + 1  # The first one opens the connection.

    def was_reset(end: Wire) -> bool:
        assert isinstance(end.transport, FakeTransport)
        return end.transport.broken

    def peer_left(end: Wire) -> bool:
        assert isinstance(end.transport, FakeTransport)
        return end.transport.broken or None in end.transport.inbox

    monkeypatch.setattr(Wire, "acked", acked)
    monkeypatch.setattr(Wire, "was_reset", was_reset)
    monkeypatch.setattr(Wire, "peer_left", peer_left)
