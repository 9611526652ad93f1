"""What follows from a request's head alone. Pure; remembered with the head, which clients send again and again."""

from __future__ import annotations

from orchd.domain.ids import Address
from orchd.domain.model import ExternalLaunch, Model
from orchd.doors.base import Door
from orchd.doors.entrance import Entrance
from orchd.doors.own import Dropped
from orchd.doors.paths import MAX_PATH_LENGTH, climbs
from orchd.doors.routes import HealthAsked, ProxyDestination, Reserve, Route, Served, ToRunner
from orchd.errors import Code
from orchd.http1.rules import RequestHead
from orchd.jobs.early import can_be_early
from orchd.jobs.heads import AnswerToCaller
from orchd.realtime.routes import StreamCall, call_of, has_streams
from orchd.sessions.session import SessionKind

MIB = 1024 * 1024


class Plan:
    """Holds while the models stay the same.

    Attributes:
        served: the models that it was made for.
        entrance: by which the request came.
        door: the one of them by which requests with this head come.
        known: how it names its model, if the head does that.
        model, job: where the job goes; None = that is not known, or nobody's job.
        target: there.
        elsewhere: where the job goes in place of a runner; None = to a runner.
        call: what is asked of a stream; None = it is a job.
        in_session: the request belongs to a session that outlives it.
        sells: the job is a session that orchd sells.
        fleeting: it holds for one request, however often its head comes.
        kind: of the session that it makes if not.
        refused: why its path can't be served to anybody; None = it can.
        most: bytes of the body; 0 = no limit.
        drops: what is dropped of it behind a refusal; None = what the listener drops of any.
        first_byte_s: within how many seconds an answer must have begun; infinite = at any time.
        early_s: a caller gets a head once the runner has had the job that many seconds; 0 = the head is the runner's.
        passing: which headers of the caller's reach the runner, by name.
        requests: the head that a runner gets, by its address.
        reply: what the caller got last; None = nothing yet.
    """

    __slots__ = (
        "call",
        "door",
        "drops",
        "early_s",
        "elsewhere",
        "entrance",
        "first_byte_s",
        "fleeting",
        "in_session",
        "job",
        "kind",
        "known",
        "model",
        "most",
        "passing",
        "refused",
        "reply",
        "requests",
        "sells",
        "served",
        "target",
        "way",
    )

    def __init__(self, served: Served, entrance: Entrance, door: Door, way: Route, head: RequestHead) -> None:
        self.served = served
        self.entrance = entrance
        self.door = door
        self.way = way
        self.known = way if isinstance(way, ToRunner | HealthAsked | Reserve) else None
        self.model: Model | None = None
        self.target = ""
        self.elsewhere: ProxyDestination | None = None
        self.most = 0
        self.drops: Dropped | None = None
        self.call: StreamCall | None = None
        self.refused: tuple[Code, str] | None = None
        self.in_session = self.sells = self.fleeting = False
        self.kind = SessionKind.NODE_JOB if door.origin.at_node else SessionKind.JOB
        self.job: ToRunner | None = None
        self.first_byte_s = door.first_byte_s(served.beside)
        if isinstance(way, ToRunner):
            self.first_byte_s = min(self.first_byte_s, way.begins_within_s)
        self.early_s = 0.0
        self.passing = door.passing
        if isinstance(way, ToRunner):
            self.job = way
            self.model = model = served.models[way.key]
            self.target = way.target
            self.most = model.inference.max_body_mb * MIB
            self.in_session = bool(way.session) or door.in_session(model)
            self.sells = door.sells and not self.in_session
            self.elsewhere, self.drops, self.fleeting = way.elsewhere, way.drops, way.fleeting
            if way.elsewhere is None:
                self.call = call_of(model, head.method, way.target.partition("?")[0])
                self.refused = _refused(self.call, way, door, model, head)
            if door.passing_early is not None and model.inference.early_head_s and can_be_early(head):
                self.early_s, self.passing = model.inference.early_head_s, door.passing_early
        elif isinstance(way, Reserve):
            self.model = served.models[way.key]
        self.requests: dict[Address, bytes] = {}
        self.reply: AnswerToCaller | None = None


def _refused(
    call: StreamCall | None, way: ToRunner, door: Door, model: Model, head: RequestHead
) -> tuple[Code, str] | None:
    """Return why this path is served to nobody, or not to a job; None = it is served."""
    path = way.target.partition("?")[0]
    base = model.launch.address.base_path if isinstance(model.launch, ExternalLaunch) else ""
    guarded = bool(base) or model.token is not None
    if len(path) > MAX_PATH_LENGTH and (guarded or (door.compares_paths and has_streams(model.stream))):
        return Code.BAD_REQUEST, f"cannot pass the path on to {model.key}: it is longer than {MAX_PATH_LENGTH} bytes"
    if guarded and climbs(path):
        what = "the base path of its url" if base else "the root of a server that gets its token"
        return Code.BAD_REQUEST, f"cannot pass the path on to {model.key}: its dot segments (..) leave {what}"
    return door.refuses(call, path, model, head, ("", base) if base else ("",))
