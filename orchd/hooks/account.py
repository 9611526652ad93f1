"""The account of a session: who pays, for what, at which price. Pure.

It is made once, when the job is admitted, and never changes: a price that is edited while a session runs counts for
the next one. A realtime session keeps its account in the store, so that a session that is found again after a restart
is charged to the same payer.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from orchd.domain.ids import ModelKey
from orchd.domain.money import PriceUnit

VERSION = 1
MAX_PAYER_LENGTH = 256
MAX_NOTES = 32
MAX_NOTE_LENGTH = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """What is known of the payment of one session. Hooks get it in `charge` and `settle`.

    Attributes:
        id: different for every session, in other processes too; stays the same over a restart.
        request_id: of the request that began the session. Callers may choose it, so it need not be unique.
        payer: who pays, as the hooks named it; at most 256 characters. Empty = no hook named anybody.
        key: the model.
        capability: the name under which clients ask for the model.
        price: wei per `unit`, exact and >= 0; None = the entry has none, or its price in USD can't be converted now.
        unit: what `price` is for.
        door: by which way the job came: `direct`, `byoc`, `live-runner`. `found` = a container was busy with it when
            orchd started, and nobody has named it since.
        kind: `job`, or `stream` for a realtime session.
        began: Unix time when it was made, seconds.
        limit: most sessions of this model that the payer may have at once, as the hooks said; None = nobody did.
        admitted: every hook has admitted the job. False in `settle` = at least one refused, or was never asked.
        notes: what the hooks keep with the account, as (name, text); at most 32 of at most 4096 characters.
    """

    id: str
    request_id: str
    payer: str
    key: ModelKey
    capability: str
    price: Fraction | None
    unit: PriceUnit
    door: str
    kind: str
    began: float
    limit: int | None = None
    admitted: bool = False
    notes: tuple[tuple[str, str], ...] = ()

    def note(self, name: str) -> str | None:
        """Return what a hook has kept under this name; None = nothing."""
        return next((text for noted, text in self.notes if noted == name), None)

    def to_json(self) -> str:
        """Return the account as one line of JSON, for the store."""
        return json.dumps(
            {
                "version": VERSION,
                "id": self.id,
                "request_id": self.request_id,
                "payer": self.payer,
                "pipeline": self.key.pipeline,
                "model_id": self.key.model_id,
                "capability": self.capability,
                "price": None if self.price is None else f"{self.price.numerator}/{self.price.denominator}",
                "unit": self.unit.value,
                "door": self.door,
                "kind": self.kind,
                "began": self.began,
                "limit": self.limit,
                "admitted": self.admitted,
                "notes": dict(self.notes),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Account:
        """Return the account that `to_json` wrote.

        Raises:
            ValueError: it is no account, or was written by a newer orchd in a way that this one can't read.
        """
        try:
            read = json.loads(text)
        except RecursionError as exc:
            raise ValueError("cannot read the account: it is nested too deeply") from exc
        if not isinstance(read, dict) or read.get("version") != VERSION:
            raise ValueError(f"cannot read the account: it is not an object of version {VERSION}")
        notes = read.get("notes")
        if not isinstance(notes, dict) or not all(isinstance(note, str) for note in notes.values()):
            raise ValueError("cannot read the account: its notes are not texts")
        return cls(
            **{name: _text(read, name) for name in ("id", "request_id", "payer", "capability", "door", "kind")},
            key=ModelKey(_text(read, "pipeline"), _text(read, "model_id")),
            price=_price(read.get("price")),
            unit=PriceUnit(_text(read, "unit")),
            began=_time(read.get("began")),
            limit=_limit(read.get("limit")),
            admitted=read.get("admitted") is True,
            notes=tuple(notes.items()),
        )


def _text(read: dict[str, Any], name: str) -> str:
    value = read.get(name)
    if not isinstance(value, str):
        raise ValueError(f"cannot read the account: its {name} is not text")
    return value


def _price(value: object) -> Fraction | None:
    if value is None:
        return None
    if not isinstance(value, str):
        raise ValueError("cannot read the account: its price is not text")
    try:
        price = Fraction(value)
    except ZeroDivisionError as exc:
        raise ValueError("cannot read the account: its price is divided by zero") from exc
    if price < 0:
        raise ValueError("cannot read the account: its price is negative")
    return price


def _limit(value: object) -> int | None:
    if value is None:  # As in accounts of an earlier orchd.
        return None
    if type(value) is not int or value < 0:
        raise ValueError("cannot read the account: its limit is not a whole number")
    return value


def _time(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError("cannot read the account: its time is not a number")
    return float(value)
