"""The accounts of sessions that run, on the disk: those that die with orchd are settled by the next one."""

from __future__ import annotations

import asyncio

import structlog

from orchd.database.sql import Sql
from orchd.errors import Code, JobRefused, StoreError
from orchd.hooks.account import Account
from orchd.hooks.hook import HookDatabase

log = structlog.get_logger("orchd.hooks")

WRITE_S = 5.0
"""Seconds between two writes of what sessions have used: a crash costs at most that much of each."""


class OpenAccounts:
    """Keeps each account from before its job is admitted until it is settled. Used only where a hook asks for it.

    A crash between the two settles it again at the next start: a hook knows it by its id.
    """

    def __init__(self, database: HookDatabase) -> None:
        self._database = database
        self._open: set[str] = set()
        self._used: dict[str, float] = {}
        self._left: dict[str, tuple[Account, float]] = {}

    async def load(self) -> None:
        """Read what an earlier orchd has left. An account that can't be read is logged and dropped.

        Raises:
            StoreError: the database can't be read.
        """
        for id, text, used_s in await self._database.read(lambda sql: sql.rows("SELECT * FROM open_accounts")):
            self._open.add(id)
            try:
                self._left[id] = Account.from_json(text), used_s
            except ValueError as exc:
                log.error("stored_account_unreadable", account=id, error=str(exc), next="nobody settles it")
                await self.drop(id)

    def left(self) -> list[Account]:
        """Return the accounts that an earlier orchd has left open and that are still to be settled."""
        return [account for account, _ in self._left.values()]

    def used_before(self, id: str) -> float | None:
        """Return the seconds that an account had used when an earlier orchd last wrote them; None = it left none."""
        _, used_s = self._left.get(id, (None, None))
        return used_s

    async def keep(self, account: Account) -> None:
        """Write an account down, in place of what was written of it. On the disk when this returns.

        Raises:
            JobRefused: HOOK_FAILED: it can't be written, so the job must not run.
        """
        self._open.add(account.id)
        text = account.to_json()

        def write(sql: Sql) -> None:
            sql.change("INSERT OR REPLACE INTO open_accounts VALUES (?, ?, 0)", (account.id, text))

        try:
            await self._database.transaction(write)
        except StoreError as exc:
            raise JobRefused(
                Code.HOOK_FAILED, f"cannot admit the job: its account can't be kept: {exc.message}"
            ) from exc

    def note_used(self, id: str, seconds: float) -> None:
        """Note what a session has used so far; it is written soon."""
        if id in self._open:
            self._used[id] = seconds

    async def run(self) -> None:
        """Write down from time to time what sessions have used, until cancelled."""
        while True:
            await asyncio.sleep(WRITE_S)
            await self._write_used()

    async def drop(self, id: str) -> None:
        """Forget an account that is settled. One that was never kept is fine."""
        if id not in self._open:
            return
        self._open.discard(id)
        self._used.pop(id, None)
        self._left.pop(id, None)
        try:
            await self._database.transaction(lambda sql: sql.change("DELETE FROM open_accounts WHERE id = ?", (id,)))
        except StoreError as exc:
            log.error("account_not_forgotten", account=id, reason=exc.message, next="the next orchd settles it again")

    async def _write_used(self) -> None:
        if not self._used:
            return
        rows = [(seconds, id) for id, seconds in self._used.items()]
        self._used.clear()
        try:
            await self._database.transaction(
                lambda sql: sql.change_all("UPDATE open_accounts SET used_s = ? WHERE id = ?", rows)
            )
        except StoreError as exc:
            log.warning("usage_not_written", accounts=len(rows), reason=exc.message, next="it is tried again")
