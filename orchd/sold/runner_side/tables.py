"""What is kept of what containers have made: a session lives on over a restart, and its URLs with it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import structlog

from orchd.database.sql import Row, Sql
from orchd.sold.runner_side.proxies import SessionProxy, read_target
from orchd.sold.runner_side.session_channels import SessionChannel

log = structlog.get_logger("orchd.sold")


def channel_rows(sql: Sql) -> list[tuple[str, SessionChannel]]:
    """Return every channel with its session."""
    rows = sql.rows("SELECT session, name, channel_name, mime_type FROM session_channels ORDER BY session, name")
    return [(session, SessionChannel(*rest)) for session, *rest in rows if _are_texts("session_channels", rest)]


def proxy_rows(sql: Sql) -> list[SessionProxy]:
    """Return every proxy. One whose target can't be read is left out: it would lead elsewhere."""
    rows = sql.rows("SELECT proxy_id, session, target FROM session_proxies ORDER BY session, proxy_id")
    return [proxy for row in rows if (proxy := _read_proxy(row)) is not None]


def put_channels(sql: Sql, session: str, channels: Iterable[SessionChannel]) -> None:
    """Keep these."""
    sql.change_all(
        "INSERT OR REPLACE INTO session_channels (session, name, channel_name, mime_type) VALUES (?, ?, ?, ?)",
        [(session, each.name, each.channel_name, each.mime_type) for each in channels],
    )


def drop_channels(sql: Sql, session: str, names: Iterable[str]) -> None:
    """Drop these. What is not there is fine."""
    sql.change_all("DELETE FROM session_channels WHERE session = ? AND name = ?", [(session, name) for name in names])


def put_proxy(sql: Sql, session: str, proxy_id: str, target: str | None) -> None:
    """Keep it."""
    sql.change("INSERT INTO session_proxies (session, proxy_id, target) VALUES (?, ?, ?)", (session, proxy_id, target))


def drop_sessions(sql: Sql, sessions: Iterable[str]) -> None:
    """Drop all that was made for these sessions."""
    each = [(session,) for session in sessions]
    sql.change_all("DELETE FROM session_channels WHERE session = ?", each)
    sql.change_all("DELETE FROM session_proxies WHERE session = ?", each)


def sessions_with_rows(sql: Sql) -> set[str]:
    """Return every session for which something is kept, whether or not it can be read."""
    rows = sql.rows("SELECT session FROM session_channels UNION SELECT session FROM session_proxies")
    return {session for (session,) in rows}


def _read_proxy(row: Row) -> SessionProxy | None:
    proxy_id, session, target = row
    if not _are_texts("session_proxies", (proxy_id, target or "")):
        return None
    try:
        return SessionProxy(proxy_id, session, None if target is None else read_target(target))
    except ValueError:
        _unreadable("session_proxies")
        return None


def _are_texts(table: str, values: Sequence[object]) -> bool:
    if all(isinstance(value, str) for value in values):  # SQLite keeps a value of any type in any column.
        return True
    _unreadable(table)
    return False


def _unreadable(table: str) -> None:
    log.warning("stored_row_unreadable", table=table, next="it is left out: its URL leads nowhere")
