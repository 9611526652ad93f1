"""All settings as one tree, and each of them as people name it.

A part's section is one line here: that the types are checked and an editor completes `settings.jobs.listen` is worth
more than to have the line made.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, NamedTuple

from pydantic import AfterValidator, BaseModel, Field
from pydantic.fields import FieldInfo

from orchd.admin.settings import AdminSettings
from orchd.advertise.settings import OrchestratorSettings
from orchd.catalog.settings import CatalogSettings
from orchd.chain.settings import ChainSettings
from orchd.channels.settings import ChannelsSettings
from orchd.hooks.settings import HooksSettings
from orchd.jobs.settings import JobsSettings
from orchd.public.settings import PublicSettings
from orchd.realtime.settings import StreamsSettings
from orchd.reconcile.settings import ReconcileSettings
from orchd.runtime.docker.settings import DockerSettings
from orchd.runtime.process.settings import ProcessSettings
from orchd.settings.basic import INSTANCE, STATE_DIR
from orchd.settings.names import env_name, flag_name
from orchd.settings.section import File, FreeTables, Positive, Section
from orchd.tickets.ledger.settings import LedgerSettings
from orchd.tickets.settings import TicketsSettings


class LogSettings(Section):
    """What is logged, and how it looks."""

    format: Literal["auto", "json", "text"] = Field(
        "auto", description="Form of the log: json, text, or auto = text on a terminal, else JSON."
    )
    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severity that is logged; it is read again on reload."
    )


class Settings(CatalogSettings):
    """All settings of one daemon."""

    state_dir: File = Field(STATE_DIR.default, description=STATE_DIR.description)
    instance: Annotated[str, AfterValidator(INSTANCE.checked)] = Field(
        INSTANCE.default, description=INSTANCE.description
    )
    on_stop: Literal["keep", "stop"] = Field(
        "keep",
        description="What happens to containers when the daemon stops: keep = they run on and the next start adopts "
        "them, so that a restart loses no warm model; stop = they are stopped.",
    )
    shutdown_drain_s: Positive = Field(
        30.0, description="How many seconds running jobs may go on when the daemon stops."
    )
    jobs: JobsSettings = JobsSettings()
    public: PublicSettings = PublicSettings()
    admin: AdminSettings = AdminSettings()
    orchestrator: OrchestratorSettings = OrchestratorSettings()
    chain: ChainSettings = ChainSettings()
    streams: StreamsSettings = StreamsSettings()
    channels: ChannelsSettings = ChannelsSettings()
    docker: DockerSettings = DockerSettings()
    process: ProcessSettings = ProcessSettings()
    reconcile: ReconcileSettings = ReconcileSettings()
    hooks: HooksSettings = HooksSettings()
    tickets: TicketsSettings = TicketsSettings()
    ledger: LedgerSettings = LedgerSettings()
    log: LogSettings = LogSettings()

    @property
    def takes_tickets(self) -> bool:
        """Jobs may be paid for with tickets: the hook that does is asked."""
        return "tickets" in self.hooks.order

    @property
    def sells_sessions(self) -> bool:
        """Clients reserve sessions at orchd itself, with no node between."""
        return bool(self.public.listen) and "live-runner" in self.public.doors

    @property
    def own_ports(self) -> frozenset[int]:
        """The TCP ports at which orchd listens, as far as the settings name them."""
        public = self.public
        named = (self.admin.listen, *self.jobs.listen, *public.listen, public.runner_listen)
        found = (re.search(r":([0-9]+)$", address) for address in named)
        return frozenset(int(port[1]) for port in found if port is not None)

    @property
    def converts_prices(self) -> bool:
        """Prices in USD are converted: for the node, or for hooks that see what a job costs."""
        others = set(self.hooks.order) - {"node-token"}
        return bool(self.orchestrator.eth_usd) and (self.orchestrator.enabled or bool(others))

    @property
    def reads_feed(self) -> bool:
        """The rate between USD and ETH is read from the chain."""
        return self.converts_prices and self.orchestrator.eth_usd == "feed"


class Setting(NamedTuple):
    """One setting, as people name it: `jobs.listen`, `--jobs-listen`, `ORCHD_JOBS_LISTEN`."""

    name: str
    field: FieldInfo

    @property
    def flag(self) -> str:
        return flag_name(self.name)

    @property
    def env(self) -> str:
        return env_name(self.name)

    @property
    def description(self) -> str:
        return self.field.description or ""

    @property
    def default(self) -> str:
        """The default as text, the way a flag takes it."""
        value = self.field.default
        match value:
            case tuple():
                return ",".join(value)
            case bool():
                return str(value).lower()
            case float():
                return f"{value:g}"
            case _:
                return str(value)


def all_settings(section: type[BaseModel] = Settings, prefix: str = "") -> Iterator[Setting]:
    """Yield every setting, in the order of the classes."""
    for name, field in section.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from all_settings(field.annotation, f"{name}.")
        elif field.annotation != FreeTables:
            yield Setting(prefix + (field.alias or name), field)


FREE_TABLES: Mapping[str, str] = {
    section: name
    for section, of in Settings.model_fields.items()
    if isinstance(of.annotation, type) and issubclass(of.annotation, BaseModel)
    for name, field in of.annotation.model_fields.items()
    if field.annotation == FreeTables
}
"""The sections that have free tables, `[section.NAME]`, and the field of each that holds them."""
SETTINGS: Mapping[str, Setting] = {setting.name: setting for setting in all_settings()}
