"""The hook `tickets` where payers come by more than one door: each door's payments have a hook of their own."""

from __future__ import annotations

from collections.abc import Mapping

from orchd.domain.outcomes import Outcome
from orchd.hooks.account import Account
from orchd.hooks.hook import HookOptions, JobHook, Waits
from orchd.hooks.job import Job
from orchd.hooks.usage import Usage

BYOC_DOOR = "public-byoc"
LIVE_RUNNER_DOOR = "public-live-runner"


class TicketsByDoor(JobHook):
    """Asks the hook of the door by which a job came.

    Args:
        hooks: by the door's name. Jobs by other doors cost nothing here.
    """

    takes_payment = True

    def __init__(self, hooks: Mapping[str, JobHook]) -> None:
        super().__init__(HookOptions())
        self._hooks = hooks
        self._nothing = JobHook(HookOptions())

    def identify(self, job: Job) -> Waits:
        return self._hooks.get(job.door, self._nothing).identify(job)

    def admit(self, job: Job) -> Waits:
        return self._hooks.get(job.door, self._nothing).admit(job)

    def charge(self, account: Account, used: float) -> Waits:
        return self._hooks.get(account.door, self._nothing).charge(account, used)

    def settle(self, account: Account, outcome: Outcome, usage: Usage) -> Waits:
        return self._hooks.get(account.door, self._nothing).settle(account, outcome, usage)
