"""What a request is for, as a door reads it from the head. Pure.

A target is text in which each character is one byte (latin-1).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from dataclasses import field as attribute

from orchd.domain.ids import Address, ModelKey
from orchd.domain.model import Model
from orchd.domain.offer import NodeProgram
from orchd.doors.own import Answered, Dropped, OwnAnswer, OwnStream
from orchd.errors import Code, JobRefused

PATH_SAFE = "/?%:@!$&'()*+,;="
"""What a path of the operator's may hold as it is."""
READ_AHEAD_BYTES = 64 * 1024
"""How much of a body is read where only the body can name the model."""


@dataclass(frozen=True, slots=True)
class Beside:
    """The node program beside orchd, as far as the ways in depend on it.

    Attributes:
        program: which one it is now; None = not known.
        asks_health: it asks for the health of models below the URLs that it has, since they are registered as static.
        capability: pattern of the name under which gateways ask for a model.
    """

    program: NodeProgram | None = None
    asks_health: bool = False
    capability: str = "{pipeline}/{model_id}"


class Served:
    """The models that are served now, and to which node.

    Attributes:
        models: by key; the same mapping as long as nothing changes.
        slugs: the key of each, by `ModelKey.slug`.
        beside: the node.
    """

    __slots__ = ("_names", "beside", "models", "slugs")

    def __init__(self, models: Mapping[ModelKey, Model], beside: Beside | None = None) -> None:
        self.models = models
        self.beside = beside or Beside()
        self.slugs: Mapping[str, ModelKey] = {key.slug: key for key in models}
        self._names: Mapping[str, ModelKey] | None = None

    def named(self, capability: str) -> ModelKey | None:
        """Return the model that is sold under this name; None = there is none. Of several it is the first."""
        if self._names is None:
            pattern, models = self.beside.capability, reversed([*self.models.items()])
            self._names = {model.name_for_gateways(pattern): key for key, model in models}
        return self._names.get(capability)


@dataclass(frozen=True, slots=True)
class ProxyDestination:
    """Where a proxy of a session leads that does not lead to its runner.

    Attributes:
        address: with the path below which the request goes.
        may_dial: whether an IP address and a port may be dialled: asked about each that is.
    """

    address: Address
    may_dial: Callable[[str, int], bool] = attribute(repr=False)


@dataclass(frozen=True, slots=True)
class ToRunner:
    """The job goes to this model's runner.

    Attributes:
        target: path and query on the runner, byte for byte; an external runner's base path comes before it.
        slug: of the model, where the route has one.
        proof: the path segment that only the node knows, as it was presented.
        begins_within_s: how many seconds after the request's arrival the caller stops waiting for an answer to begin;
            infinite = it does not say.
        session: id of the session that the path names; empty = it names none.
        elsewhere: where the request goes in place of the runner; None = to the runner.
        drops: what is dropped of its body behind a refusal; None = what the listener drops of any.
        fleeting: it may lead nowhere a moment later, though models stay the same: each request is routed by itself.
    """

    key: ModelKey
    target: str
    slug: str = ""
    proof: bytes = attribute(default=b"", repr=False)
    begins_within_s: float = float("inf")
    session: str = ""
    elsewhere: ProxyDestination | None = None
    drops: Dropped | None = None
    fleeting: bool = False


@dataclass(frozen=True, slots=True)
class HealthAsked:
    """Somebody asks whether a session of this model can begin: orchd answers from what it knows.

    Attributes: as those of `ToRunner`.
    """

    key: ModelKey
    slug: str = ""
    proof: bytes = attribute(default=b"", repr=False)


@dataclass(frozen=True, slots=True)
class Reserve:
    """A client reserves a session of this model, and brings its payment or need not.

    Attributes:
        slug: of the model.
        answer: returns what the client is told when the session is there; gets the session's id.
    """

    key: ModelKey
    slug: str
    answer: Callable[[str], Answered]


@dataclass(frozen=True, slots=True)
class TrialAsked:
    """Orchd asks itself, through the node or not, whether its job listener is reached by the URL that the node has."""

    word: bytes = attribute(repr=False)


@dataclass(frozen=True, slots=True)
class AskBody:
    """Only the body can name the model, among those of these pipelines."""

    pipelines: frozenset[str]


Route = ToRunner | HealthAsked | TrialAsked | AskBody | OwnAnswer | OwnStream | Reserve


def origin_form(target: str) -> str:
    """Return path and query of a request target, which may be an absolute URL (RFC 9112, section 3.2.2)."""
    if target.startswith("/"):
        return target
    _, slashes, rest = target.partition("://")
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    rest = rest[len(authority) :]
    return (rest if rest.startswith("/") else f"/{rest}") if slashes else f"/{target}"


def by_slug(slug: str, served: Served) -> ModelKey:
    """Return the model that a route of the node's names.

    A model that is not served gets 503 and not 404: a 4xx would be the gateway's last word, and it would not try
    another orchestrator (docs/protocol/byoc.md, 7).

    Raises:
        JobRefused: NOT_OFFERED.
    """
    key = served.slugs.get(slug)
    if key is None or key not in served.models:
        raise JobRefused(Code.NOT_OFFERED, f"cannot serve {slug[:60]}: no such model is offered here now")
    return key
