"""What the door for Live Runner's clients stands before: a desk, sessions and models of the test's."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchd.domain.ids import ModelKey
from orchd.domain.model import InferenceSpec, Model
from orchd.domain.sold import SoldSession
from orchd.doors.own import Answered, OwnAnswer
from orchd.doors.public_live_runner.calls import ClientCalls
from orchd.doors.public_live_runner.door import PublicLiveRunnerDoor
from orchd.doors.routes import Route, Served
from orchd.hooks.job import Job
from orchd.http1.rules import RequestHead
from orchd.tickets.live_runner.ports import DeskRequest
from tests.fakes.sold import FakeSold
from tests.jobs.model import a_model

SERVICE = "https://ai.example.org"
PERSISTENT, ONCE = ModelKey("live-video", "org/tint"), ModelKey("image", "org/one")
MODELS: dict[ModelKey, Model] = {
    PERSISTENT: a_model(PERSISTENT, persistent=True),
    ONCE: a_model(ONCE, inference=InferenceSpec("/image", max_body_mb=50)),
}
CHALLENGE = {"payment_params": "AA==", "orchestrator": SERVICE, "manifest_id": "session_new", "payment_url": "u"}
PAYMENT = [(b"Livepeer-Payment", b"cGF5"), (b"Livepeer-Segment", b"c2Vn")]


@dataclass
class FakeDesk:
    """After `tickets.live_runner.ports.LiveRunnerDesk`.

    Attributes:
        fails: what it raises, by the call's name.
        paid: manifests that were paid on.
    """

    free: set[ModelKey] = field(default_factory=set)
    fails: dict[str, Exception] = field(default_factory=dict)
    paid: set[str] = field(default_factory=set)
    topped_up: list[tuple[str, str]] = field(default_factory=list)

    def is_free(self, model: Model) -> bool:
        self._fail("is_free")
        return model.key in self.free

    async def challenge(self, asked: DeskRequest, model: Model) -> Mapping[str, Any]:
        self._fail("challenge")
        return CHALLENGE

    async def top_up(self, asked: DeskRequest, slug: str, manifest: str) -> Mapping[str, Any]:
        self._fail("top_up")
        self.topped_up.append((slug, manifest))
        return CHALLENGE | {"manifest_id": manifest}

    async def refresh(self, asked: DeskRequest) -> Mapping[str, Any]:
        self._fail("refresh")
        return CHALLENGE | {"manifest_id": asked.body.decode()}

    def knows(self, manifest: str) -> bool:
        return manifest in self.paid

    def _fail(self, call: str) -> None:
        if (why := self.fails.get(call)) is not None:
            raise why


class FakeClients:
    """After `calls.NotesClients`: counts them."""

    def __init__(self) -> None:
        self.counts = {"discovered": 0, "challenged": 0}

    def discovered(self) -> None:
        self.counts["discovered"] += 1

    def challenged(self) -> None:
        self.counts["challenged"] += 1


class FakeMarket:
    """After `calls.TellsModels`: says what it was asked for."""

    def document(self, query: str) -> bytes:
        return f"[{query}]".encode()


@dataclass(frozen=True)
class FakeAsked:
    """After `own.OwnRequest`."""

    job: Job = field(default=None, repr=False)  # type: ignore[assignment]
    body: bytes = b""
    seconds: float = 5.0

    def limit_payer(self, payer: str) -> None:
        """Nobody is limited."""


class Rig:
    """A door before them.

    Attributes:
        ready: whether a session could begin.
    """

    def __init__(self, base_path: str = "") -> None:
        self.desk, self.sold, self.clients = FakeDesk(), FakeSold(), FakeClients()
        self.ready = (True, "")
        calls = ClientCalls(self.desk, self.sold, FakeMarket(), self.clients, lambda key: self.ready)
        self.door = PublicLiveRunnerDoor(calls, SERVICE, base_path)
        self.served = Served(MODELS)

    def begin(self, id: str, key: ModelKey = PERSISTENT) -> SoldSession:
        """Let a session live."""
        return self.sold.begin(id, key, payer="0xpayer", persistent=MODELS[key].persistent)

    def route(
        self, target: str, method: str = "POST", *, paid: bool = False, headers: Mapping[str, str] | None = None
    ) -> Route:
        fields = [(b"Host", b"h"), *((name.encode(), value.encode()) for name, value in (headers or {}).items())]
        head = RequestHead(method.encode(), target.encode("latin-1"), "1.1", fields + (PAYMENT if paid else []))
        return self.door.route(head, target, self.served)

    async def ask(self, target: str, method: str = "POST", *, body: bytes = b"") -> Answered:
        """Return what the door answers itself."""
        way = self.route(target, method)
        assert isinstance(way, OwnAnswer)
        answer = way.answer(FakeAsked(body=body))
        return answer if isinstance(answer, Answered) else await answer
