"""Names of things: a model, one of its runners, an address, a session.

Keys are tuples, since each job looks several things up by them, and tuples are hashed and compared in C.
"""

from __future__ import annotations

import hashlib
import itertools
import re
import uuid
from collections.abc import Iterator
from typing import NamedTuple, NewType

SessionId = NewType("SessionId", int)
"""New in this process."""


def new_ids() -> Iterator[str]:
    """Yield ids, 32 hex digits, that are new in this process and unlikely in any other; next to free."""
    return map((uuid.uuid4().hex[:20] + "%012x").__mod__, itertools.count())


class ModelKey(NamedTuple):
    """What an entry of `aiModels.json` is about. Case-sensitive; any text without control characters.

    Attributes:
        pipeline: the task, such as `text-to-image`.
        model_id: usually a Hugging Face id, `org/name`; may hold slashes and any script.
    """

    pipeline: str
    model_id: str

    def __str__(self) -> str:
        return f"{self.pipeline}/{self.model_id}"

    @property
    def slug(self) -> str:
        """`[a-z0-9-]`, at most 49 characters, different for different keys: safe in names, hosts and paths.

        The readable half is lossy, so 8 hex digits of a hash of the exact key keep two keys apart.
        """
        readable = re.sub(r"[^a-z0-9]+", "-", str(self).lower()).strip("-")[:40].strip("-") or "model"
        digest = hashlib.sha256(f"{self.pipeline}\0{self.model_id}".encode()).hexdigest()[:8]
        return f"{readable}-{digest}"


class RunnerId(NamedTuple):
    """One runner: a replica of one generation of a model.

    Attributes:
        replica: 0, 1, ...; stable while the runner lives.
        generation: `Model.generation`, 12 hex digits; an edit of what the runner needs makes another.
    """

    key: ModelKey
    replica: int
    generation: str

    def __str__(self) -> str:
        return f"{self.key}#{self.replica}@{self.generation}"

    @property
    def name(self) -> str:
        """The runner's part of container and log-file names: at most 66 characters of `[a-z0-9-]`."""
        return f"{self.key.slug}-{self.replica}-{self.generation}"


class Address(NamedTuple):
    """Where a runner answers HTTP.

    Attributes:
        scheme: `http`, or `https` for an external runner.
        host: name or IP literal, without brackets.
        base_path: prefix of an external runner's `url`, without a trailing slash; usually empty.
    """

    host: str
    port: int
    scheme: str = "http"
    base_path: str = ""

    @property
    def url(self) -> str:
        """Base URL without a trailing slash."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.base_path}"
