"""Manifests in a draft and in the store: what sessions that were paid on were promised."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from orchd.database.sql import Row, Sql
from orchd.domain.ids import ModelKey
from orchd.tickets.ledger.amounts import from_text, to_text
from orchd.tickets.ledger.ports import LedgerKey, Manifest
from orchd.tickets.ledger.view import LedgerView, RunningSession


@dataclass
class ManifestDraft:
    """What the next transaction changes of manifests."""

    view: LedgerView
    changed: dict[str, Manifest] = field(default_factory=dict, init=False)
    dropped: list[str] = field(default_factory=list, init=False)

    def of(self, key: LedgerKey) -> Manifest | None:
        """Return the manifest of an account as the changes so far leave it; None = it has none."""
        found = self.changed.get(key.work)
        if found is None and key.work not in self.dropped:
            found = self.view.manifests.get(key.work)
        return found if found is not None and found.key == key else None

    def promise(self, manifest: Manifest) -> None:
        """Keep a manifest, unless it is kept."""
        if self.of(manifest.key) is None:
            self.changed[manifest.id] = manifest

    def note_charged(self, running: RunningSession) -> None:
        """Note whether the fixed price of a session's manifest was charged; by an orchd before, it stays so."""
        manifest, before = self.of(running.key), running.session.meter.units
        charged = bool(before if running.give_back else running.meter.units)
        if manifest is not None and manifest.fixed and manifest.charged is not charged:
            self.changed[manifest.id] = manifest._replace(charged=charged)

    def drop(self, key: LedgerKey) -> None:
        """Drop that of an account, if it has one."""
        if (manifest := self.of(key)) is not None:
            self.changed.pop(manifest.id, None)
            self.dropped.append(manifest.id)

    def write(self, sql: Sql) -> None:
        """Write all of it."""
        sql.change_all("DELETE FROM ledger_manifests WHERE manifest = ?", [(id,) for id in self.dropped])
        put_manifests(sql, self.changed.values())

    def apply(self) -> None:
        """Put it into the view."""
        for id in self.dropped:
            self.view.manifests.pop(id, None)
        self.view.manifests |= self.changed


def find_manifests(sql: Sql) -> dict[str, Manifest]:
    """Return all manifests by id; the one that was issued last comes last."""
    rows = sql.rows(
        "SELECT scheme, payer, manifest, runner, pipeline, model_id, price, fixed, persistent, issued_at, charged"
        " FROM ledger_manifests ORDER BY issued_at, manifest"
    )
    return {row[2]: _manifest(row) for row in rows}


def _manifest(row: Row) -> Manifest:
    scheme, payer, id, runner, pipeline, model_id, price, fixed, persistent, issued_at, charged = row
    key, model = LedgerKey(scheme, payer, id), ModelKey(pipeline, model_id)
    return Manifest(key, runner, model, from_text(price), bool(fixed), bool(persistent), issued_at, bool(charged))


def put_manifests(sql: Sql, manifests: Iterable[Manifest]) -> None:
    """Write manifests; of those that are kept, whether they were charged."""
    sql.change_all(
        "INSERT INTO ledger_manifests (manifest, scheme, payer, runner, pipeline, model_id, price, fixed, persistent,"
        " issued_at, charged) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
        " ON CONFLICT (manifest) DO UPDATE SET charged = excluded.charged",
        [
            (
                *(each.id, each.key.scheme, each.key.payer, each.runner, *each.model, to_text(each.price)),
                *(each.fixed, each.persistent, each.issued_at, each.charged),
            )
            for each in manifests
        ],
    )
