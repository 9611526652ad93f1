"""The job as a hook sees it. Read only, except for what hooks say about it themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NamedTuple, Protocol

from orchd.domain.ids import ModelKey, RunnerId, new_ids
from orchd.domain.money import PriceUnit
from orchd.hooks.account import MAX_NOTE_LENGTH, MAX_NOTES, MAX_PAYER_LENGTH, Account
from orchd.hooks.counted import payer_of
from orchd.hooks.receipt import Receipt
from orchd.hooks.terms import Terms
from orchd.http1.names import Header
from orchd.http1.rules import RequestHead


@dataclass(frozen=True, slots=True)
class NodeProof:
    """What a request shows to prove that the node has sent it, as it was presented: nobody has checked it yet.

    Attributes:
        slug: of the model.
        token: the bearer token; None = the door has none. Empty = it has, and the request shows none.
        segment: the secret path segment; None = the door has none.
    """

    slug: str
    token: bytes | None = field(default=None, repr=False)
    segment: bytes | None = field(default=None, repr=False)


class PayerLimits(NamedTuple):
    """Most sessions of one payer at once; None = as many as there are.

    Attributes:
        of_model: of this model.
        of_all: of all models together.
    """

    of_model: int | None = None
    of_all: int | None = None


NO_LIMITS = PayerLimits()


class JobFacts(Protocol):
    """What `Job` shows, as orchd keeps it."""

    @property
    def request_id(self) -> str: ...
    @property
    def head(self) -> RequestHead: ...
    @property
    def peer(self) -> str: ...
    @property
    def began_at(self) -> float: ...
    @property
    def key(self) -> ModelKey | None: ...
    @property
    def named(self) -> ModelKey | None: ...
    @property
    def arrived(self) -> bool: ...
    @property
    def admitted(self) -> bool: ...
    @property
    def door_name(self) -> str: ...
    @property
    def of_node(self) -> bool: ...
    @property
    def public(self) -> bool: ...
    @property
    def in_session(self) -> bool: ...
    @property
    def proof(self) -> NodeProof | None: ...
    @property
    def runner(self) -> RunnerId | None: ...
    @property
    def account(self) -> Account | None: ...
    def terms_for(self, payer: str) -> Terms | None: ...


_account_ids = new_ids()


class Job:
    """One request for work.

    Header names and values are bytes, as they came; those that the runner will not see are included.
    """

    __slots__ = ("_account_id", "_facts", "_kept", "_limits", "_notes", "_payer", "_price", "_receipt", "_session_id")

    def __init__(self, facts: JobFacts) -> None:
        self._facts = facts
        self._payer = ""
        self._notes: dict[str, str] = {}
        self._kept: dict[str, object] = {}
        self._price: tuple[Fraction, PriceUnit] | None = None
        self._limits = NO_LIMITS
        self._account_id = ""
        self._receipt: Receipt | None = None
        self._session_id = ""

    @property
    def request_id(self) -> str:
        """As in `Livepeer-Request-Id`: 1 to 64 visible ASCII characters. Callers may choose it."""
        return self._facts.request_id

    @property
    def door(self) -> str:
        """By which way the job came: `direct`, `byoc`, `live-runner`."""
        return self._facts.door_name

    @property
    def of_node(self) -> bool:
        """It came by a door that is the node's. Whether the node has sent it, only its proof can show."""
        return self._facts.of_node

    @property
    def public(self) -> bool:
        """It came by a door of the public listener: nobody has been paid for it yet."""
        return self._facts.public

    @property
    def proof(self) -> NodeProof | None:
        """What the request shows to prove that the node has sent it; None = it names no model that is served."""
        return self._facts.proof

    @property
    def method(self) -> bytes:
        """Such as `POST`."""
        return self._facts.head.method

    @property
    def target(self) -> bytes:
        """Path and query as they came. At the node's doors the path holds a secret: never log it."""
        return self._facts.head.target

    @property
    def headers(self) -> Sequence[Header]:
        """All headers, in their order."""
        return self._facts.head.headers

    def header(self, name: bytes) -> bytes | None:
        """Return the first value under this lower-case name; None = there is none."""
        return self._facts.head.value(name)

    @property
    def peer(self) -> str:
        """The address of the caller's connection; empty = unknown, as on a unix socket."""
        return self._facts.peer

    @property
    def began_at(self) -> float:
        """When the request's head was there: loop clock, seconds."""
        return self._facts.began_at

    @property
    def key(self) -> ModelKey | None:
        """The model. None in `arrive`: see `named`."""
        return self._facts.key

    @property
    def named(self) -> ModelKey | None:
        """The model, if the head alone names it; None = only the body can, or there is no such model."""
        return self._facts.named

    @property
    def arrived(self) -> bool:
        """Every `arrive` has passed."""
        return self._facts.arrived

    @property
    def admitted(self) -> bool:
        """Every `admit` has passed."""
        return self._facts.admitted

    @property
    def in_session(self) -> bool:
        """It is a request of a session that outlives it and was paid for before, or will be by that session."""
        return self._facts.in_session

    @property
    def session_id(self) -> str:
        """As the client knows the session that begins with this job, as a hook has named it; empty = nobody has."""
        return self._session_id

    def name_session(self, id: str) -> None:
        """Name the session that begins with this job. In `identify`, by the hook that takes payment.

        Args:
            id: the manifest that was paid for.
        """
        self._session_id = id

    @property
    def runner(self) -> RunnerId | None:
        """The runner on which it holds a slot; None = it has no slot yet."""
        return self._facts.runner

    @property
    def account(self) -> Account | None:
        """The account of the session that the request belongs to; None = that is made when this job is admitted."""
        return self._facts.account

    # What hooks say.

    @property
    def payer(self) -> str:
        """Who pays, as a hook has named it; empty = nobody yet."""
        return self._payer

    def set_payer(self, payer: str) -> None:
        """Name who pays: the account will say so. In `arrive`, `identify` or `admit`.

        Args:
            payer: such as an address: 1 to 256 printable characters.

        Raises:
            ValueError: it can't be a payer, or another hook has named another one.
        """
        if not payer or len(payer) > MAX_PAYER_LENGTH or not payer.isprintable():
            raise ValueError(f"cannot set the payer: it must be 1 to {MAX_PAYER_LENGTH} printable characters")
        if self._payer not in ("", payer):
            raise ValueError("cannot set the payer: another hook has named another one")
        self._payer = payer

    @property
    def counts_for(self) -> str | None:
        """For whom it counts where something is counted by payer: the payer, else the address that it comes from.

        None = nobody: a job of the node's for which no hook has named a payer, as all of them come from one address.
        """
        if self.of_node and not self._payer:
            return None
        return payer_of(self._payer, self.peer)

    @property
    def account_id(self) -> str:
        """The id that its account will have, unless it belongs to a session that has one already."""
        if not self._account_id:
            self._account_id = next(_account_ids)
        return self._account_id

    @property
    def terms(self) -> Terms | None:
        """Name, price and unit as the account will say them: a hook's price, else the model's own for this payer.

        None in `arrive`, where the model is not known.
        """
        terms = self._facts.terms_for(self._payer)
        if terms is None or self._price is None:
            return terms
        return Terms(terms.capability, *self._price)

    def set_price(self, price: Fraction | int, unit: PriceUnit = PriceUnit.SECOND) -> None:
        """Sell this job at another price than the model's; the last hook that sets one is right.

        In `arrive`, `identify` or `admit`; the hook that takes payment is asked after all others.

        Args:
            price: wei per `unit`, exact, >= 0.

        Raises:
            ValueError: it is negative.
            TypeError: it is not exact.
        """
        if isinstance(price, bool) or not isinstance(price, Fraction | int) or not isinstance(unit, PriceUnit):
            raise TypeError("cannot set the price: it must be a Fraction or an int, and its unit a PriceUnit")
        if price < 0:
            raise ValueError(f"cannot set the price {price}: it must not be negative")
        self._price = Fraction(price), unit

    @property
    def limits(self) -> PayerLimits:
        """How many sessions the payer may have at once, as hooks have said."""
        return self._limits

    def lower_limit(self, sessions: int, *, of_all_models: bool = False) -> None:
        """Bound the sessions that this payer may have at once; a job that would be one more gets 503.

        In `arrive` or `identify`: it is looked at when a slot is taken. Of several limits the lowest counts. Where no
        hook names a payer, jobs count for the address that they come from.

        Args:
            sessions: >= 0.
            of_all_models: count all sessions of this payer, and not only those of this model.

        Raises:
            ValueError: it is negative, or no whole number.
        """
        if type(sessions) is not int or sessions < 0:
            raise ValueError(f"cannot lower the limit to {sessions!r}: it must be a whole number, and not negative")
        mine, all_ = self._limits
        if of_all_models:
            self._limits = PayerLimits(mine, sessions if all_ is None else min(all_, sessions))
        else:
            self._limits = PayerLimits(sessions if mine is None else min(mine, sessions), all_)

    @property
    def receipt(self) -> Receipt | None:
        """What its payer has left, for the door by which it came; None = no hook takes payment for it."""
        return self._receipt

    def set_receipt(self, receipt: Receipt) -> None:
        """Let the door tell the payer what it has left. In `admit`, by the hook that takes payment."""
        self._receipt = receipt

    def keep(self, name: str, value: object) -> None:
        """Keep anything for a later call about this job. It lives as long as the job and is never stored.

        Args:
            name: begin it with the hook's own name. A second value under a name replaces the first.
        """
        self._kept[name] = value

    def kept(self, name: str) -> object:
        """Return what was kept under this name; None = nothing."""
        return self._kept.get(name)

    @property
    def notes(self) -> tuple[tuple[str, str], ...]:
        """What hooks have noted, as (name, text)."""
        return tuple(self._notes.items())

    def note(self, name: str, text: str) -> None:
        """Keep a text for `charge` and `settle`: the account will hold it. In `arrive`, `identify` or `admit`.

        Args:
            name: of the note; begin it with the hook's own name. A second text under a name replaces the first.
            text: at most 4096 characters. It is kept in the store for realtime sessions: no secrets.

        Raises:
            ValueError: it is too long, or there are 32 notes already.
            TypeError: it is not text.
        """
        if not isinstance(name, str) or not isinstance(text, str):
            raise TypeError(f"cannot keep the note {str(name)[:50]!r}: its name and its text must be str")
        if len(text) > MAX_NOTE_LENGTH or len(name) > MAX_PAYER_LENGTH:
            raise ValueError(f"cannot keep the note {name[:50]!r}: it is longer than {MAX_NOTE_LENGTH} characters")
        if name not in self._notes and len(self._notes) >= MAX_NOTES:
            raise ValueError(f"cannot keep the note {name[:50]!r}: the job has {MAX_NOTES} notes already")
        self._notes[name] = text
