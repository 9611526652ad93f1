"""A hook of your own, as an example: prepaid credit.

Callers name their account in X-Account, and each job takes its price from the balance. What a job that failed has cost
is given back, also if orchd was killed in the middle of it. docs/how-to/own-hook.md tells how to use it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any

from pydantic import Field

from orchd.hooks.api import Account, HookHost, HookOptions, Job, JobHook, Outcome, Refusal, Sql, Usage


class CreditOptions(HookOptions):
    price: int = Field(gt=0, description="Credits that one job costs.")
    gift: int = Field(0, ge=0, description="Credits that a new account begins with.")
    top_up_url: str = Field(description="Where callers buy credits.")
    report_s: float = Field(3600.0, gt=0, description="Seconds between two lines in the log about all balances.")


class Credit(JobHook):
    Options = CreditOptions
    options: CreditOptions
    survives_restart = True
    migrations = (
        (
            "CREATE TABLE credit_balances (account TEXT PRIMARY KEY, credits INTEGER NOT NULL) STRICT",
            "CREATE TABLE credit_taken (job TEXT PRIMARY KEY, account TEXT NOT NULL, credits INTEGER NOT NULL) STRICT",
        ),
    )

    async def open(self, host: HookHost) -> None:
        self.database, self.log = host.database, host.log

    def roots(self) -> Mapping[str, Coroutine[Any, Any, object]]:
        return {"report": self._report()}

    def identify(self, job: Job) -> None:
        """Who asks? Nothing is taken yet, so this need not wait for anything."""
        name = (job.header(b"x-account") or b"").decode("latin-1")
        if not name.isalnum():
            raise Refusal(400, "cannot tell the account: name one in the header X-Account, in letters and digits")
        job.set_payer(name)

    async def admit(self, job: Job) -> None:
        """The job has its slot: take the price. The runner has seen nothing yet."""
        taken = await self.database.transaction(lambda sql: self._take(sql, job.account_id, job.payer))
        if not taken:
            raise Refusal(
                402,
                f"cannot serve the job: account {job.payer} has too little credit",
                headers=[("X-Credit-Price", str(self.options.price))],
                body={"error": "too_little_credit", "price": self.options.price, "top_up": self.options.top_up_url},
            )

    async def settle(self, account: Account, outcome: Outcome, usage: Usage) -> None:
        """The job is over. Called once for every session that had a slot, and again only if orchd died meanwhile."""
        keeps = account.admitted and outcome is Outcome.OK
        await self.database.transaction(lambda sql: self._settle(sql, account.id, give_back=not keeps))

    def _take(self, sql: Sql, job: str, name: str) -> bool:
        """Take the price, and write down for which job: both, or nothing."""
        price = self.options.price
        sql.change("INSERT OR IGNORE INTO credit_balances VALUES (?, ?)", (name, self.options.gift))
        paid = sql.change(
            "UPDATE credit_balances SET credits = credits - ? WHERE account = ? AND credits >= ?", (price, name, price)
        )
        if paid:
            sql.change("INSERT INTO credit_taken VALUES (?, ?, ?)", (job, name, price))
        return bool(paid)

    def _settle(self, sql: Sql, job: str, *, give_back: bool) -> None:
        """Forget what was taken for a job. A second call finds nothing, so that nothing is given back twice."""
        row = sql.row("SELECT account, credits FROM credit_taken WHERE job = ?", (job,))
        if row is not None and give_back:
            name, credits = row
            sql.change("UPDATE credit_balances SET credits = credits + ? WHERE account = ?", (credits, name))
        sql.change("DELETE FROM credit_taken WHERE job = ?", (job,))

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(self.options.report_s)
            row = await self.database.read(lambda sql: sql.row("SELECT count(*), sum(credits) FROM credit_balances"))
            self.log.info("credit_balances", accounts=row[0] if row else 0, credits=row[1] if row else 0)
