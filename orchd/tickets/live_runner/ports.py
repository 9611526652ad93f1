"""What the door for clients of Live Runner's asks of who takes their payments."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from orchd.domain.model import Model
from orchd.hooks.job import Job

Challenge = Mapping[str, Any]
"""The four members of docs/protocol/paid-live-runner.md, 4; sent with 402 as the demand to pay, with 200 after a top-up
or a refresh."""


class DeskRequest(Protocol):
    """A request that a door answers itself; see `doors.own.OwnRequest`."""

    @property
    def job(self) -> Job: ...
    @property
    def body(self) -> bytes: ...
    def limit_payer(self, payer: str) -> None: ...


class LiveRunnerDesk(Protocol):
    """Tells clients their terms and takes their top-ups. Each answer comes within 2 s or is a 503."""

    def is_free(self, model: Model) -> bool:
        """Return whether a session of this model begins without payment.

        Raises:
            Refusal: 503: its price is not known, or it can't be sold now.
        """
        ...

    async def challenge(self, asked: DeskRequest, model: Model) -> Challenge:
        """Return new terms with a new manifest. Writes nothing.

        Raises:
            Refusal: 402 without a challenge: the payer is not named; 429; 503: no terms can be made now.
        """
        ...

    async def top_up(self, asked: DeskRequest, slug: str, manifest: str) -> Challenge:
        """Take a top-up of a session that lives; return fresh terms for it.

        Args:
            slug: of the model, as in the path; `manifest`: the same of the session.

        Raises:
            Refusal: 403, 404, 409, 400 as docs/protocol/paid-live-runner.md, 9 and 14 say; 503: trouble of our own, and
                terms that have expired on the way.
        """
        ...

    async def refresh(self, asked: DeskRequest) -> Challenge:
        """Return new terms at the same price for a manifest that was paid on.

        Raises:
            Refusal: 400: the body can't be read; 404: no such manifest of this payer's; 503.
        """
        ...

    def knows(self, manifest: str) -> bool:
        """Return whether this manifest was ever paid on, and is still known."""
        ...
