"""What an entry's runner is launched with: container, process, or nothing (external). Pure.

The context outside the file comes in through `FileContext`; what can't be read there is the entry's problem.
"""

from __future__ import annotations

import posixpath
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from errno import ENAMETOOLONG, ENOENT, ENOTDIR
from types import MappingProxyType
from typing import Any

from orchd.catalog import values
from orchd.catalog.draft import Draft
from orchd.catalog.profiles import Profile
from orchd.domain.ids import ModelKey
from orchd.domain.model import ContainerLaunch, ExternalLaunch, Launch, Model, ProcessLaunch, Secret
from orchd.errors import Code

CONTAINER_KNOBS = (
    *("port", "entrypoint", "args", "volumes", "gpus", "memory", "shm_size", "cpus", "user", "cap_add", "pull"),
    *("labels", "init"),
)
LAUNCHED_KNOBS = ("env", "env_file", "replicas")
MISPLACED = {"image": (), "command": CONTAINER_KNOBS, "url": (*CONTAINER_KNOBS, *LAUNCHED_KNOBS)}
"""What an entry can name as its runner, and the fields that have no meaning then."""
KINDS = (*MISPLACED,)
_SELF_REGISTERING = ("ORCH_URL", "ORCH_SECRET")


NOTHING_RUNS: Mapping[ModelKey, Model] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class FileContext:
    """What resolving an entry may know beyond the file.

    Attributes:
        file: name of `aiModels.json` to show in problems.
        folder: absolute; where it lies.
        read_text: text of a file that an entry names. Raises OSError, or ValueError where it is not UTF-8 text.
        readable_by_others: anybody on the host can read `aiModels.json`.
        last_good: definitions that run now: nothing of them may be lost by a slip.
        strict: unknown keys are errors.
        lacks: given the path of a volume, returns the path that the host lacks; None = it is there, or can't be known.
    """

    file: str
    folder: str
    read_text: Callable[[str], str]
    readable_by_others: bool = False
    last_good: Mapping[ModelKey, Model] = field(default_factory=lambda: NOTHING_RUNS)
    strict: bool = False
    lacks: Callable[[str], str | None] = lambda path: None


def kind_of(draft: Draft) -> str | None:
    """Return `image`, `command` or `url`; None if the entry has none of them. More than one is its problem."""
    there = [name for name in KINDS if draft.has(name)]
    if len(there) > 1:
        draft.error(f"cannot choose between {' and '.join(there)}: keep one of them", there[1])
    if not there:
        return None
    for name in filter(draft.has, MISPLACED[there[0]]):
        who = "a process is told its free port" if (name, there[0]) == ("port", "command") else _WHY[there[0]]
        draft.error(f"cannot use {name} in an entry with {there[0]}: {who}", name)
    if there[0] == "url" and draft.has("optimization_flags"):
        draft.warning("has no effect on a url entry: orchd does not start it", "optimization_flags")
    return there[0]


_WHY = {"command": "it is for containers (image)", "url": "orchd does not start what a url names"}


def launch_of(draft: Draft, key: ModelKey, profile: Profile, stop_signal: str, context: FileContext) -> Launch | None:
    """Return what to launch; None if a problem was found on the way (it is then in the draft)."""
    entry = draft.entry
    if entry.url:
        return ExternalLaunch(entry.url)
    env = _environment(draft, key, profile, context)
    if entry.command:
        return ProcessLaunch(tuple(entry.command), context.folder, env)
    if entry.image is None:
        return None
    knobs: dict[str, Any] = {
        name: value
        for name, value in entry.given()
        if name in ("entrypoint", "args", "gpus", "cpus", "user", "cap_add", "pull", "init")
    }
    volumes = tuple(_beside(volume, context.folder) for volume in entry.volumes or ())
    _check_volumes(draft, volumes, context)
    return ContainerLaunch(
        entry.image,
        port=entry.port or profile.port,
        env=env,
        volumes=volumes,
        memory_bytes=entry.memory,
        shm_bytes=entry.shm_size,
        labels=tuple(sorted((entry.labels or {}).items())),
        stop_signal=stop_signal,
        **knobs,
    )


def token_of(draft: Draft, context: FileContext) -> Secret | None:
    """Return the bearer token, from wherever the entry has it."""
    entry = draft.entry
    if draft.has("token") and draft.has("token_file"):
        draft.error("cannot choose between token and token_file: keep one of them", "token_file")
    if draft.has("token") and context.readable_by_others:
        draft.warning("others on this host can read the token: use token_file, or chmod 600", "token")
    if entry.token_file is None:
        return entry.token
    text = _read(draft, "token_file", entry.token_file, context)
    if text is None:
        return None
    token = text.strip()
    if _oddity(token) == "the quotes":
        draft.warning(f"the quotes in {entry.token_file} stay part of the token: take them away", "token_file")
    try:
        return values.token(token)
    except ValueError as exc:
        what = f"cannot use the content of {entry.token_file}: {exc}"
        draft.error(what, "token_file", code=Code.SECRET_UNREADABLE)
        return None


def _environment(draft: Draft, key: ModelKey, profile: Profile, context: FileContext) -> tuple[tuple[str, str], ...]:
    """Later sources win: defaults, optimization_flags, env_file in its order, env."""
    env = {"PIPELINE": key.pipeline, "MODEL_ID": key.model_id}
    if profile.capability_name:
        env["CAPABILITY_NAME"] = str(key)
    env |= draft.entry.optimization_flags or {}
    for path in draft.entry.env_file or ():
        text = _read(draft, "env_file", path, context)
        env |= _env_lines(draft, path, text or "")
    env |= draft.entry.env or {}
    for name in _SELF_REGISTERING:
        if name in env:
            source = "env" if name in (draft.entry.env or {}) else "env_file"
            draft.warning(f"{name} makes the container register itself, past orchd: remove it", source)
    return tuple(sorted(env.items()))


def _env_lines(draft: Draft, path: str, text: str) -> dict[str, str]:
    """Read `NAME=value` lines as Docker does: values verbatim, `#` comments, blank lines skipped."""
    env: dict[str, str] = {}
    kept: dict[str, list[int]] = {}
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), 1):
        stripped = line.removesuffix("\r").lstrip()
        if not stripped or stripped.startswith("#"):
            continue
        name, equals, value = stripped.partition("=")
        if not equals or not name or name != name.rstrip() or " " in name or "\0" in stripped:
            draft.error(f"cannot read line {number} of {path}: expected NAME=value", "env_file")
        else:
            env[name] = value
            if what := _oddity(value):
                kept.setdefault(what, []).append(number)
    for what, lines in kept.items():
        where = ", ".join(map(str, lines[:5])) + (f" and {len(lines) - 5} more" if len(lines) > 5 else "")
        draft.warning(
            f"{what} stay part of the value, as with Docker's --env-file: take them away if they are not meant to "
            f"(line{'s' * (len(lines) > 1)} {where} of {path})",
            "env_file",
        )
    return env


def _oddity(value: str) -> str:
    """Return what shells and other programs would take off a value."""
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return "the quotes"
    if value != value.strip():
        return "the blanks around it"
    return "a # and what follows it" if " #" in value else ""


def _read(draft: Draft, name: str, path: str, context: FileContext) -> str | None:
    try:
        return context.read_text(path)
    except OSError as exc:
        shown = _shown(name, path, context, exc)
        draft.error(f"cannot read {shown}: {exc.strerror or 'it failed'}", name, code=Code.SECRET_UNREADABLE)
    except ValueError:
        draft.error(
            f"cannot read {_shown(name, path, context)}: it is not UTF-8 text", name, code=Code.SECRET_UNREADABLE
        )
    return None


def _shown(name: str, path: str, context: FileContext, exc: OSError | None = None) -> str:
    """Return how a file that an entry names is called in an error: by the path that was tried.

    What stands in `token_file` by mistake may be the token itself: if there is no such file, it is only repeated where
    it looks like a path.
    """
    absent = exc is not None and exc.errno in (ENOENT, ENOTDIR, ENAMETOOLONG)
    if name == "token_file" and absent and not _PATH_LIKE.fullmatch(path):
        return f"the file beside {context.file} (its name is not repeated here, since it might be the token itself)"
    tried = exc.filename if exc and isinstance(exc.filename, str) else ""
    return path if tried in ("", path) else f"{path} ({tried})"


_PATH_LIKE = re.compile(
    r"(?:\.{0,2}/)?(?:[\w.-]{1,40}/)*[\w-]{1,32}\.[a-z]{1,8}"
    r"|/(?:[\w.-]{1,24}/)+[\w.-]{1,32}"
    r"|(?=.*(?:token|secret|key|cred))[a-z0-9]{1,12}(?:[_-][a-z0-9]{1,12}){0,4}",
    re.ASCII,
)


def _check_volumes(draft: Draft, volumes: tuple[str, ...], context: FileContext) -> None:
    seen: set[str] = set()
    for volume in volumes:
        source, target, *_ = volume.split(":")
        target = posixpath.normpath(target)
        if target in seen:
            draft.error(f"cannot mount two things at {target}: give each its own place in the container", "volumes")
        seen.add(target)
        if source.startswith("/") and (lacking := context.lacks(source)) is not None:
            draft.error(
                f"cannot mount {source}: there is no {lacking} here; make it: mkdir -p {shlex.quote(lacking)}",
                "volumes",
                code=Code.VOLUME_MISSING,
            )


def _beside(volume: str, folder: str) -> str:
    """Make a host path that begins with a dot absolute: Docker Engine wants it so."""
    host, colon, rest = volume.partition(":")
    return f"{posixpath.normpath(posixpath.join(folder, host))}{colon}{rest}" if host.startswith(".") else volume
