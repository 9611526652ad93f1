"""What a dialect of Live Runner has to say. Pure."""

from __future__ import annotations

from typing import NamedTuple, Protocol

from orchd.advertise.live_runner.plan import Pace
from orchd.advertise.live_runner.prices import PriceTerms
from orchd.advertise.live_runner.states import ListingEvent
from orchd.errors import Code


class Reason(NamedTuple):
    """Why a model can't be registered, for a person.

    Attributes:
        why: goes on from "cannot register MODEL with Live Runner: ".
    """

    why: str
    code: Code = Code.NODE_REFUSED


class Dialect(Protocol):
    """One program's Live Runner.

    Attributes:
        name: of the program, for people.
        secret_setting: where the program has the secret that `orchestrator.secret_file` holds.
        terms: how it reads prices.
        pace: its defaults, until it has told its own.
        hides_full: a runner without a free slot is not in its discovery.
        hides_by_status: a single-shot runner whose status is not `ready` is not found any more, while its jobs go on.
    """

    name: str
    secret_setting: str
    terms: PriceTerms
    pace: Pace
    hides_full: bool
    hides_by_status: bool

    def heard(self, status: int, said: str, *, beating: bool) -> ListingEvent | None:
        """Return what an answer to a heartbeat other than 200 means; None = `probed` must decide.

        Args:
            said: as `NodeAnswer.error_text`.
            beating: it was sent with the runner's secret, not the node's.
        """
        ...

    def probed(self, status: int) -> ListingEvent:
        """Return what the refused heartbeat meant, by the answer to an empty one with the same secret."""
        ...

    def why_refused(self, status: int, said: str) -> Reason:
        """Return why the node takes no heartbeat, where a person must do something or wait."""
        ...

    def wrong_secret(self, file: str, around: str) -> str:
        """Return what to do about the secret in `file`, where `around` stands around it (`SecretFileSeen`)."""
        ...


def unregistered(status: int) -> ListingEvent:
    """Return what an answer to an unregistration means, at either program."""
    # Whatever is refused is no longer ours to unregister, and expires.
    return ListingEvent.GONE if 200 <= status < 300 or status in (400, 401, 403, 404) else ListingEvent.SILENCE


def in_its_words(name: str, status: int, said: str, hint: str = "") -> str:
    """Return a refusal as the node has worded it."""
    return f"{name} says {status}, {said!r}" + (f" ({hint})" if hint else "")
