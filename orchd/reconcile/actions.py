"""What the plan may ask of the loop: one step for one runner each."""

from __future__ import annotations

from dataclasses import dataclass

from orchd.domain.ids import RunnerId
from orchd.domain.model import Model
from orchd.domain.runtime_id import RuntimeId
from orchd.reconcile.runner import Leaving


@dataclass(frozen=True, slots=True)
class Create:
    """Know a runner that is to be; nothing is launched yet. `runtime`: see `placement`."""

    id: RunnerId
    model: Model
    runtime: RuntimeId | None = None


@dataclass(frozen=True, slots=True)
class Forget:
    """Forget a runner that is not wanted, and of which nothing is left."""

    id: RunnerId


@dataclass(frozen=True, slots=True)
class Update:
    """The same runner under a newer definition: price, sessions, health or other offer-only fields."""

    id: RunnerId
    model: Model


@dataclass(frozen=True, slots=True)
class Prepare:
    id: RunnerId


@dataclass(frozen=True, slots=True)
class Check:
    """Get and check all that a new start of a runner needs, while it runs on: it is to be restarted."""

    id: RunnerId


@dataclass(frozen=True, slots=True)
class Start:
    id: RunnerId


@dataclass(frozen=True, slots=True)
class Attach:
    """Begin to probe an external runner."""

    id: RunnerId


@dataclass(frozen=True, slots=True)
class Unpause:
    id: RunnerId


@dataclass(frozen=True, slots=True)
class Drain:
    id: RunnerId
    leaving: Leaving
    why: str


@dataclass(frozen=True, slots=True)
class Resume:
    id: RunnerId


@dataclass(frozen=True, slots=True)
class Stop:
    """Stop and remove it now, whatever it holds."""

    id: RunnerId
    why: str


@dataclass(frozen=True, slots=True)
class GiveUp:
    """As Stop, but it counts as a failure and is started again after a wait."""

    id: RunnerId
    why: str


@dataclass(frozen=True, slots=True)
class Reset:
    """Try again: from FAILED or BACKOFF back to COLD."""

    id: RunnerId
    why: str


Action = Create | Forget | Update | Prepare | Check | Start | Attach | Unpause | Drain | Resume | Stop | GiveUp | Reset
