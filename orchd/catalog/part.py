"""The models file, as a part: reads it, keeps the last good definitions, and says what is desired."""

from __future__ import annotations

import time
from pathlib import Path

import structlog

from orchd.catalog.metrics import CatalogCollector
from orchd.catalog.reload import Catalog
from orchd.catalog.tables import ModelTable
from orchd.catalog.told import EditsTold
from orchd.catalog.watch import ModelsFile
from orchd.database.database import HasDatabase
from orchd.domain.ids import ModelKey
from orchd.domain.signal import Signal
from orchd.domain.state import DesiredState, Severity
from orchd.domain.stores import ModelStore, StoredModel
from orchd.errors import StoreError
from orchd.history.ports import History
from orchd.part import Context, Part, Roots

log = structlog.get_logger("orchd.catalog")


class CatalogPart(Part):
    """After `ports.DesiredModels`."""

    name = "catalog"
    stored: tuple[StoredModel, ...] = ()
    _kept: ModelStore

    def __init__(self, context: Context, database: HasDatabase, history: History) -> None:
        self._context = context
        self._history = history
        self._database = database
        self._catalog: Catalog | None = None
        self.desired: Signal[DesiredState] = Signal()

    async def open(self) -> None:
        settings = self._context.settings
        self._collector = CatalogCollector(self._context.metrics)
        self._kept = self.make_store()
        self.stored = await self._kept.models()
        last_good = [each.model for each in self.stored if each.current]
        self._told = EditsTold(self._history, {model.key: model for model in last_good})
        credentials = self._context.env.get("CREDENTIALS_DIRECTORY")
        self._catalog = Catalog(
            ModelsFile(Path(settings.models_file), settings.models_poll_s),
            last_good,
            Path(credentials) if credentials else None,
            strict=settings.strict_file,
        )

    async def start(self) -> None:
        # What is desired must be known before the runtimes show what is there, or all of it would look unwanted.
        await self._apply(await self._opened.load())

    def roots(self) -> Roots:
        return {"models file": self._follow()}

    async def close(self) -> None:
        if self._catalog is not None:
            self._catalog.close()

    def read_again(self) -> None:
        self._opened.again()

    async def forget_generations(self, keep: frozenset[tuple[ModelKey, str]]) -> None:
        await self._kept.forget_generations(keep)

    def make_store(self) -> ModelStore:
        """Return what keeps the definitions; the database is open."""
        return ModelTable(self._database.database)

    @property
    def _opened(self) -> Catalog:
        assert self._catalog is not None
        return self._catalog

    async def _follow(self) -> None:
        async for desired in self._opened.changes():
            await self._apply(desired)

    async def _apply(self, desired: DesiredState) -> None:
        """Keep what is good, then tell."""
        try:
            if desired.file_hash:  # Else there are only the definitions that the store has.
                await self._kept.save_models(self._opened.last_good())
        except StoreError as exc:
            # A full disk must not keep an edit from being served; it would only be unknown after a restart.
            log.error("last_good_not_saved", reason=exc.message)
        refused = any(p.severity is Severity.ERROR and p.entry is None for p in desired.problems)
        self._collector.reloaded(not refused, time.time(), desired.file_hash, desired.problems)
        self.desired.emit(desired)
        await self._told.tell(desired)
