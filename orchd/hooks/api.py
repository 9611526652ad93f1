"""What a hook of the operator's imports: the whole public interface of `orchd.hooks`.

A member that stands here keeps its name and its meaning; `docs/how-to/own-hook.md` shows how they are used.
"""

from __future__ import annotations

from orchd.database.sql import Sql
from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.money import PriceUnit
from orchd.domain.outcomes import Outcome
from orchd.hooks.account import Account
from orchd.hooks.hook import HookDatabase, HookHost, HookOptions, JobHook, Waits
from orchd.hooks.job import Job, NodeProof, PayerLimits
from orchd.hooks.receipt import Receipt
from orchd.hooks.refusal import Refusal
from orchd.hooks.terms import Terms
from orchd.hooks.usage import Usage

__all__ = [
    "Account",
    "HookDatabase",
    "HookHost",
    "HookOptions",
    "Job",
    "JobHook",
    "ModelKey",
    "NodeProof",
    "Outcome",
    "PayerLimits",
    "PriceUnit",
    "Receipt",
    "Refusal",
    "RunnerId",
    "Sql",
    "Terms",
    "Usage",
    "Waits",
]
