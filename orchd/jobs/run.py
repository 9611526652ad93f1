"""One job under way: what is known of it, and how its flow is driven.

The flow (`Handler._flow`) is a coroutine, so that it reads from top to bottom; but no task drives it. It runs inside
the calls that bring it news, from one `wait` to the next: a job costs no turn of the loop, and a cut takes effect at
once. Inside it only `wait` and `outside` may be awaited; whatever needs asyncio itself goes through `outside`. Anything
else that is awaited there raises `AwaitedInFlow` at once: nothing would ever wake the flow.
"""

from __future__ import annotations

import asyncio
import types
from collections.abc import Callable, Coroutine, Generator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from orchd.domain.ids import ModelKey, RunnerId
from orchd.domain.model import Model
from orchd.doors.base import Door
from orchd.doors.routes import HealthAsked, Reserve, ToRunner
from orchd.errors import Code, JobRefused
from orchd.hooks.account import Account
from orchd.hooks.job import Job, NodeProof
from orchd.hooks.receipt import Receipt
from orchd.hooks.terms import Terms, terms_of
from orchd.http1.rules import RequestHead
from orchd.realtime.stream import Stream
from orchd.relay.ports import Caller, EventStream, Transfer
from orchd.sessions.payers import PayerPlace
from orchd.sessions.session import Session
from orchd.tasks import caught, spawn

if TYPE_CHECKING:
    from orchd.sold.live import LiveSession

T = TypeVar("T")

NEVER = float("inf")
NOTHING = object()
WAITING = object()
"""What `wait` yields to `_step`. An `await` of asyncio yields its future, or None: by that they are told apart."""
NO_PATIENCE: Mapping[Code, float] = {}
NOBODY = Code.INTERNAL  # Members of enums are slow to look up: each job needs this one.


class Aborted(JobRefused):
    """Cut by orchd: a drain's deadline, a runner that goes, shutdown, a hook that will not go on.

    Args:
        word: what programs are told; empty = the code.
    """

    def __init__(self, code: Code, message: str, *, retry_after_s: int | None = None, word: str = "") -> None:
        super().__init__(code, message, retry_after_s=retry_after_s)
        self._word = word

    @property
    def word(self) -> str:
        """The word of the hook that will not go on, or else the code."""
        return self._word or self.code


class AwaitedInFlow(RuntimeError):
    """Something of asyncio's was awaited inside a job's flow: a bug in the flow."""

    def __init__(self, what: object) -> None:
        super().__init__(
            f"cannot await {what!r} inside a job's flow, which no task drives: use `await run.outside(...)`, "
            "which awaits it in a task"
        )


class Run:
    """One job under way. What hooks see of it is `job`.

    Attributes:
    request_id: as in `Livepeer-Request-Id`.
    head: method, target and headers as they came.
    peer: the caller's address; empty = unknown.
    began_at: loop clock, seconds.
    door: by which it came.
    way: how the request names its model; while hooks hear of its arrival, None where only the body can name one, or
        where there is no such model.
    key: the model; None until `arrive` has passed.
    arrived: every `arrive` has passed.
    session: None until it has a slot.
    admitted: every `admit` has passed.
    counts: it is a job; False for questions that orchd answers itself.
    status: of the runner's answer; 0 = none yet.
    first_byte_s: from `began_at` to the head of that answer; None = none yet.
    held_s: waited for a cold model.
    patience_s: how long each timeout is, by its code, seconds; see `wait_for`.
    explain: says what it means that a timeout has run out, by its code; see `within`.
    charging: set when the job has ended; None = nobody charges for it.
    place: where it counts for its payer until it has a session, which counts from then on; None = nowhere.
    terms: name and price of a model for a payer.
    stream: the realtime session that the request is about; its slot is not ours to free.
    starts: which start of that session the request is; 0 = none.
    sold: the session that the request begins, belongs to or is, if orchd has sold it.
    events: watches an event stream whose end the caller is told in words.
    begin_by: when the answer must have begun (loop clock, seconds); infinite = at any time.
    early: sends the caller a head when the runner has had the job for some time; None = the head is the runner's.
    outer: work outside the flow that was begun last; it may still be ending when the job has ended.
    """

    __slots__ = (
        "_fault", "_flow", "_gift", "_job", "_late", "_now", "_patience_s", "_waits", "admitted", "arrived",
        "began_at", "begin_by", "caller", "charging", "counts", "door", "early", "events", "explain", "first_byte_s",
        "head", "held_s", "key", "model", "outer", "patience_s", "peer", "place", "request_id", "session", "sold",
        "starts", "status", "stream", "terms", "transfer", "way",
    )  # fmt: skip

    def __init__(self, caller: Caller, request_id: str, now: Callable[[], float], door: Door) -> None:
        self.request_id = request_id
        self.head: RequestHead = caller.message.head
        self.peer = caller.peer
        self.began_at = now()
        self.door = door
        self.way: ToRunner | HealthAsked | Reserve | None = None
        self.key: ModelKey | None = None
        self.arrived = False
        self.session: Session | None = None
        self.place: PayerPlace | None = None
        self.admitted = False
        self._job: Job | None = None
        self.caller = caller
        self.counts = True
        self.model: Model | None = None
        self.status = 0
        self.first_byte_s: float | None = None
        self.held_s = 0.0
        self.transfer: Transfer | None = None
        self.outer: asyncio.Task[Any] | None = None
        self.charging: asyncio.Event | None = None
        self.terms: Callable[[Model, str], Terms] = terms_of
        self.stream: Stream | None = None
        self.starts = 0
        self.sold: LiveSession | None = None
        self.events: EventStream | None = None
        self.begin_by = NEVER
        self.early: Callable[[], None] | None = None
        self.patience_s: Mapping[Code, float] = NO_PATIENCE
        self.explain: Callable[[Code, Run], str] = _unexplained
        self._now = now
        self._flow: Coroutine[object, object, None] | None = None
        self._waits = False
        self._fault: Exception | None = None
        self._gift: object = NOTHING
        self._late = NOBODY
        self._patience_s = NEVER
        caller.deadline = NEVER

    # What hooks see; after `hooks.job.JobFacts`.

    @property
    def job(self) -> Job:
        """The job as hooks see it: made when the first of them is asked."""
        job = self._job
        if job is None:
            job = self._job = Job(self)
        return job

    @property
    def named(self) -> ModelKey | None:
        """The model that the head names."""
        return None if self.way is None else self.way.key

    @property
    def door_name(self) -> str:
        """The door's name."""
        return self.door.name

    @property
    def of_node(self) -> bool:
        """It came by a door of the node's."""
        return self.door.of_node

    @property
    def public(self) -> bool:
        """It came by a door of the public listener."""
        return self.door.public

    @property
    def in_session(self) -> bool:
        """It belongs to a session that outlives it."""
        way = self.way
        return (
            isinstance(way, ToRunner)
            and self.model is not None
            and (bool(way.session) or self.door.in_session(self.model))
        )

    @property
    def proof(self) -> NodeProof | None:
        """What it shows to prove that the node has sent it; None = nothing, or it names no model that is served."""
        way = self.way
        return None if way is None or isinstance(way, Reserve) else self.door.proof(self.head, way)

    @property
    def runner(self) -> RunnerId | None:
        """The runner on which it has a slot."""
        return None if self.session is None else self.session.runner

    @property
    def receipt(self) -> Receipt | None:
        """What its payer has left; None = nobody has said so."""
        return None if self._job is None else self._job.receipt

    @property
    def account(self) -> Account | None:
        """The account of its session."""
        return None if self.session is None else self.session.account

    def terms_for(self, payer: str) -> Terms | None:
        """Name and price of its model for this payer; None = the model is not known yet."""
        return None if self.model is None else self.terms(self.model, payer)

    # Driving.

    def drive(self, flow: Coroutine[object, object, None]) -> None:
        """Run `flow` to its first wait. It must handle its own errors."""
        self._flow = flow
        self._step(None)

    def deliver(self, what: object) -> None:
        """Give what is waited for. If nothing is yet, the next `wait` returns it; there is never more than one such."""
        if self._waits:
            self._step(what)
        else:
            self._gift = what

    def deliver_soon(self, what: object) -> None:
        """As `deliver`, but from the loop's next turn: safe to call from anywhere."""
        asyncio.get_running_loop().call_soon(self.deliver, what)

    def fail(self, why: Exception) -> None:
        """Raise `why` where the flow waits, or will wait next. Only the first counts."""
        if self._flow is None or self._fault is not None:
            return
        self._fault = why
        if self._waits:
            self._step(None)

    def forgive(self) -> None:
        """The flow has dealt with what failed, and goes on."""
        self._fault = None
        self._gift = NOTHING

    def cut(self, why: Exception) -> None:
        """As `fail`, but from the loop's next turn: safe to call from anywhere."""
        asyncio.get_running_loop().call_soon(self.fail, why)

    def _step(self, what: object) -> None:
        flow = self._flow
        if flow is None:
            return
        self._waits = False
        try:
            asked = flow.send(what) if self._fault is None else flow.throw(self._fault)
            while asked is not WAITING:
                if asyncio.isfuture(asked):  # As a task's step does; else nobody could await it any more.
                    asked._asyncio_future_blocking = False  # noqa: SLF001
                asked = flow.throw(AwaitedInFlow(asked))
        except StopIteration:
            self._flow = self._job = None  # The job knows the run: nothing but a garbage collection would free them.
        else:
            self._waits = True

    @types.coroutine
    def wait(self) -> Generator[object, Any, Any]:
        """Return what is delivered next; raise what fails."""
        if self._fault is not None:
            raise self._fault
        gift = self._gift
        if gift is not NOTHING:
            self._gift = NOTHING
            return gift
        return (yield WAITING)

    async def outside(self, work: Coroutine[Any, Any, T], late: Callable[[T], None] | None = None) -> T:
        """Return what a coroutine of asyncio's returns, run as a task; it is cancelled if the job is cut meanwhile.

        Args:
            late: gets what it returns all the same, if that can't be stopped any more.
        """
        self.outer = task = spawn(caught(work), name=f"for job {self.request_id}")
        over = False

        def ended(task: asyncio.Task[tuple[T | None, Exception | None]]) -> None:
            if not over:
                self.deliver(None)
            elif late is not None and not task.cancelled() and task.result()[1] is None:
                late(task.result()[0])  # type: ignore[arg-type]

        task.add_done_callback(ended)
        try:
            await self.wait()
        finally:
            over = True
            # Behind its first step, or what it was to await would never be.
            asyncio.get_running_loop().call_soon(task.cancel)
        if task.cancelled():
            raise RuntimeError(f"the task {task.get_name()!r} has cancelled itself")
        result, error = task.result()
        if error is not None:
            raise error
        return result  # type: ignore[no-any-return]

    def abort(self, reason: str, word: str = "") -> None:
        """After `Session.abort`, and `domain.outcomes.Cut`."""
        self.cut(Aborted(Code.SESSION_ENDED if word else Code.DRAINING, f"cannot go on: {reason}", word=word))

    # Timeouts. One runs at a time; its code tells who caused it.

    def within(self, seconds: float, late: Code, explain: Callable[[Code, Run], str]) -> None:
        """Set the deadline to `seconds` from now, and say what it means that it passes."""
        self._late, self.explain = late, explain
        self._patience_s = seconds
        self.caller.deadline = self._now() + seconds

    def until_begin(self) -> None:
        """Let what is waited for take as long as the node waits for an answer to begin."""
        if self.begin_by < NEVER:
            self.within(self.begin_by - self._now(), Code.BACKEND_TIMEOUT, _begins_late)

    def without_limit(self) -> None:
        """No timeout runs until the next call."""
        self._late = NOBODY
        self.caller.deadline = self._patience_s = NEVER

    def wait_for(self, late: Code) -> None:
        """Let the timeout with this code run now. For the one that runs already, nothing changes."""
        if late is not self._late:
            self._late = late
            self._patience_s = seconds = self.patience_s[late]
            self.caller.deadline = self._now() + seconds

    def moved(self) -> None:
        """A byte moved, either way: the timeout that runs begins again, and the runner is not dead."""
        now = self._now()
        self.caller.deadline = now + self._patience_s
        if self.session is not None:
            self.session.progress_at = now

    def expire(self) -> None:
        early = self.early
        if early is not None and self._late is Code.BACKEND_TIMEOUT:
            self.early = None
            return early()
        return self.fail(JobRefused(self._late, self.explain(self._late, self)))


def _unexplained(code: Code, run: Run) -> str:
    return f"cannot go on: {code}"


def _begins_late(code: Code, run: Run) -> str:
    return f"cannot wait longer: {run.key} gave no answer, and Livepeer Node waits 60 s at most for one to begin"
