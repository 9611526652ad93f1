"""What the file asks for, and what a reader of orchd may see of it. Frozen values."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from types import MappingProxyType

from orchd.domain.chain import ChainStatus
from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.lifecycle import RunnerEvent, RunnerState
from orchd.domain.model import Model
from orchd.domain.offer import NodeStatus, Published
from orchd.domain.whereabouts import Whereabouts
from orchd.errors import Code


class Severity(StrEnum):
    ERROR = "error"
    """The entry (or file) does not apply as written."""
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Problem:
    """Something wrong with `aiModels.json`, in words that name the place and the way out.

    Attributes:
        line, column: 1-based; 0 = not known.
        entry: 0-based index in the array; None = the file as a whole.
        field: dotted name of the field, such as `health.interval_s`; empty = the entry as a whole.
        unknown_key: it is about a key that is no field: an error where unknown keys are to be errors (`strict_file`).
    """

    severity: Severity
    code: Code
    message: str
    file: str = ""
    line: int = 0
    column: int = 0
    entry: int | None = None
    field: str = ""
    key: ModelKey | None = None
    unknown_key: bool = False

    def __str__(self) -> str:
        place = self.file
        if self.line:
            place += f":{self.line}"
            if self.column:
                place += f":{self.column}"
        named = [f"entry {self.entry + 1}"] if self.entry is not None else []
        named += [f"({self.key})"] if self.key else []
        named += [f"field {self.field}"] if self.field else []
        where = f"{place}: " if place else ""
        what = f"{' '.join(named)}: " if named else ""
        return f"{where}{what}{self.message}"


@dataclass(frozen=True, slots=True)
class DesiredState:
    """What the file asks for.

    Attributes:
        models: by key, in the file's order.
        problems: of the newest reading of the file.
        held_over: keys that run on from their last good definition because the file or their entry is bad.
        file_hash: first 12 hex digits of the SHA-256 of the last file that applied; empty = none yet.
    """

    models: Mapping[ModelKey, Model] = field(default_factory=lambda: MappingProxyType({}))
    problems: tuple[Problem, ...] = ()
    held_over: frozenset[ModelKey] = frozenset()
    file_hash: str = ""


BY_OPERATOR = "an operator has stopped it"
"""Why a model is stopped, for all who may not know who that was."""


@dataclass(frozen=True, slots=True)
class Stopped:
    """An operator has stopped a model (`orchd stop`). As text, words for a person.

    Attributes:
        by: who, in words. Callers are not told.
        at: Unix time, seconds.
    """

    by: str
    at: float

    def __str__(self) -> str:
        return f"by {self.by} since {dt.datetime.fromtimestamp(self.at, dt.UTC):%Y-%m-%d %H:%M:%S} UTC"


@dataclass(frozen=True, slots=True)
class Happening:
    """One line of a model's history.

    Attributes:
        at: Unix time, seconds.
        why: what caused it. `evidence`: what it was concluded from (probe answer, exit code, last log lines).
    """

    at: float
    runner: RunnerId
    event: RunnerEvent
    before: RunnerState
    after: RunnerState
    why: str
    evidence: str = ""


@dataclass(slots=True)  # As `ModelStatus`.
class RunnerStatus:
    """What a reader may know of one runner.

    Attributes:
        since: Unix time of the state. `sessions`: slots that are taken on it now; `letting_go`: how many of these are.
        handle: container id or process name; None = none.
        detail: the reason of the state in one line: last error, pull progress, probe evidence.
        retry_at: Unix time of the next start; None = none planned.
        source: image, program or URL that it was made from; an edit may ask for another one by now.
        whereabouts: how a person finds it with other tools; None = not started, or somebody else runs it.
        doubt: why it may not be well although it is ready; empty = nothing is known. `detail` has it, too.
    """

    runner: RunnerId
    state: RunnerState
    since: float
    wanted: bool
    detail: str = ""
    handle: str | None = None
    address: str | None = None
    sessions: int = 0
    restarts: int = 0
    retry_at: float | None = None
    last_log: tuple[str, ...] = ()
    last_stop: str = ""
    source: str = ""
    letting_go: int = 0
    whereabouts: Whereabouts | None = None
    doubt: str = ""


@dataclass(frozen=True, slots=True)
class StreamStatus:
    """What a reader may know of one stream.

    Attributes:
        since: Unix time. `origin`, `phase`: of `domain.phases`.
    """

    id: str
    origin: str
    phase: str
    since: float
    replica: int


@dataclass(frozen=True, slots=True)
class RunnerErrors:
    """Jobs that runners of a model have answered with 500 to 599, since orchd started.

    Attributes:
        last_at: Unix time of the last one's end.
        last_status: 500 to 599.
    """

    count: int
    last_at: float
    last_status: int


@dataclass(frozen=True, slots=True)
class JobCounts:
    """Jobs that have ended since orchd started. What has not happened is not named.

    Attributes:
        outcomes: by `domain.outcomes.Outcome`.
        codes: those that failed or were refused, by `errors.Code`. Of all models, also requests that never became jobs.
    """

    outcomes: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    codes: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class DaemonStatus:
    """What a reader may know of the daemon itself.

    Attributes:
        started_at: Unix time.
        admin_listen: address of the admin pages.
    """

    version: str
    instance: str
    pid: int
    started_at: float
    admin_listen: str


NO_JOBS = JobCounts()


@dataclass(slots=True)  # Not frozen: to make one takes an eighth of the time, and each change of a model makes one.
class ModelStatus:
    """What a reader may know of one model and its runners. Never changed: readers share it.

    Attributes:
        ready: a session can begin on it now, if a slot is free.
        startable: cold, and its first job would start it.
        reason: why it is not ready, in plain words; empty when ready.
        sessions, letting_go: slots that are taken, and how many of them are letting go: their callers have left, and
            their runners may still be at work.
        pending: slots that are kept for sessions that may begin, beside those.
        held_over: goes by its last good definition, since its entry, or the whole file, has an error now.
        registries: how it stands in those of the node that are used.
        not_offered: why it is in none of them, in plain words.
        streams: realtime sessions that it carries.
        last_failure: why a runner of it went down by itself the last time and was not ready since; empty = none.
        runner_errors: jobs that its runners failed by their own word; None = there were none.
        jobs: those that named it.
        stopped: by whom and when; None = it is not. It is not wanted then.
    """

    model: Model
    ready: bool
    startable: bool
    reason: str
    sessions: int
    waiting: int
    runners: tuple[RunnerStatus, ...]
    history: tuple[Happening, ...]
    held_over: bool = False
    leaving: bool = False
    registries: Mapping[str, Published] = field(default_factory=lambda: MappingProxyType({}))
    not_offered: str = ""
    streams: tuple[StreamStatus, ...] = ()
    last_failure: str = ""
    runner_errors: RunnerErrors | None = None
    letting_go: int = 0
    pending: int = 0
    jobs: JobCounts = NO_JOBS
    stopped: Stopped | None = None

    @property
    def wanted(self) -> bool:
        """Whether it is to serve: it is in the file, and nobody has stopped it."""
        return not self.leaving and self.stopped is None


@dataclass(frozen=True, slots=True)
class RuntimeStatus:
    """What a reader may know of one runtime.

    Attributes:
        needed: a model is of this kind. Else nobody has to know that it is down.
    """

    kind: str
    up: bool
    detail: str = ""
    needed: bool = True


@dataclass(frozen=True, slots=True)
class MoneyStatus:
    """What a reader may know of tickets and what they came to, in wei.

    Attributes:
        sessions: that are paid for and run now.
        earned_today: the expected value of the tickets that were taken since midnight UTC; `earned`: of all of them.
        won: face values of those that won. `owed`: of those that may still be redeemed.
    """

    sessions: int = 0
    earned_today: Fraction = Fraction()
    earned: Fraction = Fraction()
    won: int = 0
    owed: int = 0


@dataclass(frozen=True, slots=True)
class CertificateStatus:
    """What a reader may know of the certificate of the listener for payers.

    Attributes:
        expires_at: Unix time.
        trouble: why its files can't be used as they are now; empty = they can, or it is orchd's own.
    """

    expires_at: float
    self_signed: bool
    trouble: str


@dataclass(frozen=True, slots=True)
class ClientsStatus:
    """Whether clients of Live Runner's find orchd. Unix times; 0 = it has not happened since orchd started.

    Attributes:
        since: when orchd began to count.
        discovery_at: somebody asked what is sold. `challenge_at`: somebody was told on which terms.
        paid_at: a session or job began that is paid for.
        payers: who have paid for one; of very many only those are counted that did so last.
    """

    since: float
    discovery_at: float = 0.0
    challenge_at: float = 0.0
    paid_at: float = 0.0
    payers: int = 0


@dataclass(frozen=True, slots=True)
class PublicStatus:
    """What a reader may know of the listener for payers.

    Attributes:
        url: that payers are told; empty = none is set.
        certificate: None = it does not speak TLS itself.
        runner_listen: where containers reach orchd for their sessions; empty = nowhere.
        runner_trouble: why they can't, in words; empty = they can, or need not.
        clients: None = no door for Live Runner's clients is open.
    """

    listen: tuple[str, ...]
    url: str
    base_path: str
    doors: tuple[str, ...]
    certificate: CertificateStatus | None
    runner_listen: tuple[str, ...] = ()
    runner_trouble: str = ""
    clients: ClientsStatus | None = None


@dataclass(frozen=True, slots=True)
class ChannelsStatus:
    """What a reader may know of the channels of sessions that orchd sells itself: numbers, never names.

    Attributes:
        bytes: that they hold in memory.
        requests: reads and writes under way.
        refused: those for which there was no room, since the start.
    """

    channels: int
    bytes: int
    requests: int
    refused: int


@dataclass(frozen=True, slots=True)
class SoldCount:
    """How many sessions of a model that orchd has sold itself live now; at least one does.

    Attributes:
        persistent: they outlive their requests; else each is a single-shot job.
        paid, free: those that have begun, and those that are ending.
        pending: those that are being paid for.
    """

    key: ModelKey
    persistent: bool
    paid: int = 0
    free: int = 0
    pending: int = 0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a reader may know, at one moment.

    Attributes:
        models: the status of a model that has not changed is the very same object as in the snapshot before.
        node: None = orchd has none beside it.
        hooks: names of those that are asked about jobs, in their order.
        jobs: of all models, and those that named none.
        jobs_listen: addresses of the job listeners.
        public: the listener for payers; None = there is none.
        channels: None = orchd sells no sessions.
        sold: by model and mode; None = orchd sells no sessions.
        daemon: None = it has no admin pages.
        chain: None = orchd reads none.
        version: grows whenever a model's status has changed, or a model has come or gone.
        at: Unix time. `converged`: nothing is under way and nothing is left to do.
        stopped_elsewhere: models that an operator has stopped and that are not in the file.
        money: None = orchd takes no tickets.
    """

    at: float = 0.0
    models: Mapping[ModelKey, ModelStatus] = field(default_factory=lambda: MappingProxyType({}))
    problems: tuple[Problem, ...] = ()
    runtimes: tuple[RuntimeStatus, ...] = ()
    file_hash: str = ""
    node: NodeStatus | None = None
    hooks: tuple[str, ...] = ()
    jobs: JobCounts = NO_JOBS
    jobs_listen: tuple[str, ...] = ()
    public: PublicStatus | None = None
    channels: ChannelsStatus | None = None
    sold: tuple[SoldCount, ...] | None = None
    daemon: DaemonStatus | None = None
    chain: ChainStatus | None = None
    reload_ok: bool = False
    reload_at: float = 0.0
    converged: bool = False
    version: int = 0
    stopped_elsewhere: Mapping[ModelKey, Stopped] = field(default_factory=lambda: MappingProxyType({}))
    money: MoneyStatus | None = None
