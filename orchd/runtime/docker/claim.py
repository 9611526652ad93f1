"""One daemon per instance on an engine, whatever the state directory: a lock that a kill -9 frees.

A claim is a Docker volume named `orchd-claim.INSTANCE.NUMBER` whose labels say who holds it. The engine creates a
volume of a name once and leaves an existing one as it is, so creating tests and sets in one step. A daemon

1. looks at all claims of its instance; one whose holder lives, or may live, refuses it;
2. creates its own with the next number, and looks again: of two daemons, the one that looked last sees the other;
3. removes those of dead holders. Nothing that could become a living one's claim is removed before.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from pathlib import Path

import structlog

from orchd.errors import AlreadyRunning, EngineUnavailable
from orchd.runtime.docker.engine import Engine
from orchd.runtime.docker.spec import INSTANCE

log = structlog.get_logger("orchd.runtime")

_PREFIX = "orchd.claim."
_LOOKS = 5


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a claim. Empty = not known.

    Attributes:
        boot_id, pid_ns, pid, start_ticks: of the process; exact on one kernel.
        container_id, container_started_at: of the container it runs in, if that is one of the claim's engine.
        nonce: different for every daemon.
    """

    nonce: str
    boot_id: str
    pid_ns: str
    pid: str
    start_ticks: str
    host: str
    state_dir: str
    container_id: str = ""
    container_started_at: str = ""

    def labels(self) -> dict[str, str]:
        return {_PREFIX + name: value for name, value in asdict(self).items()}

    @classmethod
    def of(cls, labels: Mapping[str, str]) -> Holder:
        """Read labels; what is missing is not known."""
        return cls(**{each.name: labels.get(_PREFIX + each.name, "") for each in fields(cls)})


class Life(StrEnum):
    ALIVE = "alive"
    DEAD = "dead"
    UNKNOWN = "unknown"


def judge(
    holder: Holder, me: Holder, *, start_ticks: str, container_started_at: str, local: bool, hidden: bool = False
) -> Life:
    """Return whether a claim's holder still lives.

    Args:
        start_ticks: of the process that has the holder's pid here now; empty = none.
        container_started_at: of the holder's container on the engine now; empty = it does not run.
        local: the engine is reached over a unix socket.
        hidden: a process has the holder's pid here now, but /proc does not show it to us.
    """
    if holder.boot_id and (holder.boot_id, holder.pid_ns) == (me.boot_id, me.pid_ns):
        if hidden:
            return Life.UNKNOWN
        return Life.ALIVE if start_ticks == holder.start_ticks else Life.DEAD
    if holder.container_id:
        return Life.ALIVE if container_started_at == holder.container_started_at else Life.DEAD
    if local and holder.host == me.host and holder.boot_id and me.boot_id and holder.boot_id != me.boot_id:
        return Life.DEAD  # this machine has booted since
    return Life.UNKNOWN


def start_ticks_of(pid: str) -> str:
    """Return when the process `pid` began, in clock ticks since boot; empty = no such process, or only its zombie.

    Source: proc_pid_stat(5), fields 3 and 22; the second field may hold spaces and parentheses.
    """
    try:
        state, *rest = Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()
        return "" if state in "ZX" else rest[18]
    except (OSError, ValueError, IndexError):
        return ""


def is_hidden(pid: int) -> bool:
    """Return whether there is such a process, of another user, that /proc (mounted with `hidepid`) does not show us."""
    if Path("/proc", str(pid)).exists():
        return False
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        pass
    return False


def container_id_in(mountinfo: str) -> str | None:
    """Return the id of the container that we run in, from `/proc/self/mountinfo`; None = in none.

    Docker mounts a container's own `hostname`, `hosts` and `resolv.conf` from its folder. (The host's mounts name
    containers too, but at other places.)
    """
    for line in mountinfo.splitlines():
        fields = line.split()
        if len(fields) > 4 and fields[4] in ("/etc/hostname", "/etc/hosts", "/etc/resolv.conf"):
            found = re.search(r"/containers/([0-9a-f]{64})/", fields[3])
            if found:
                return found[1]
    return None


def own_container_id() -> str | None:
    """Return the id of the container that this process runs in; None = in none that can be told."""
    return container_id_in(Path("/proc/self/mountinfo").read_text())


def _boot_id() -> str:
    """Return what names this boot; empty where /proc shows processes only (`subset=pid`)."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _myself(state_dir: str, container_id: str, container_started_at: str) -> Holder:
    pid = Path("/proc/self").readlink().name
    return Holder(
        nonce=secrets.token_hex(8),
        boot_id=_boot_id(),
        pid_ns=str(Path("/proc/self/ns/pid").readlink()),
        pid=pid,
        start_ticks=start_ticks_of(pid),
        host=socket.gethostname(),
        state_dir=state_dir,
        container_id=container_id,
        container_started_at=container_started_at,
    )


@dataclass(frozen=True, slots=True)
class _FoundClaim:
    volume: str
    number: int
    holder: Holder


class Claim:
    """Our hold on an instance of an engine. Safe to take again: after a failure, or when the volume was pruned."""

    def __init__(
        self, engine: Engine, instance: str, state_dir: str, *, container_id: str, container_started_at: str
    ) -> None:
        self._engine = engine
        self._instance = instance
        self._me = _myself(state_dir, container_id, container_started_at)
        self._strange: set[str] = set()

    async def take(self) -> None:
        """Take the instance on this engine.

        Raises:
            AlreadyRunning: another daemon holds the instance, or may.
            EngineUnavailable.
        """
        for _ in range(_LOOKS):
            claims = await self._claims()
            ours = [claim for claim in claims if claim.holder.nonce == self._me.nonce]
            # Every orchd has a nonce: what has none is nobody's, and stays.
            others = [claim for claim in claims if claim not in ours and claim.holder.nonce]
            for other in others:
                if (life := await self._life(other.holder)) is not Life.DEAD:
                    await self.release()
                    raise AlreadyRunning(self._refusal(other, life))
            if ours:
                for dead in others:
                    # Another directory than ours often is a slip, and then its store is what explains what runs.
                    log.info(
                        "claim_taken_over",
                        volume=dead.volume,
                        pid=dead.holder.pid,
                        host=dead.holder.host,
                        state_dir=dead.holder.state_dir,
                        our_state_dir=self._me.state_dir,
                    )
                    await self._engine.remove_volume(dead.volume)
                return
            number = 1 + max((claim.number for claim in claims), default=0)
            await self._engine.create_volume(
                f"orchd-claim.{self._instance}.{number}", {INSTANCE: self._instance, **self._me.labels()}
            )
        raise EngineUnavailable(f"cannot take the instance {self._instance}: others come and go; try again")

    async def release(self) -> None:
        """Give the instance free."""
        for claim in await self._claims():
            if claim.holder.nonce == self._me.nonce:
                await self._engine.remove_volume(claim.volume)

    async def _claims(self) -> list[_FoundClaim]:
        found = []
        for volume in await self._engine.volumes(f"{INSTANCE}={self._instance}"):
            numbered = re.fullmatch(rf"orchd-claim\.{self._instance}\.(\d+)", volume["Name"])
            if not numbered:
                continue
            holder = Holder.of(volume["Labels"] or {})
            if not holder.nonce:
                if volume["Name"] not in self._strange:
                    log.warning("claim_not_read", volume=volume["Name"], why="its labels are not those of an orchd")
                self._strange.add(volume["Name"])
            found.append(_FoundClaim(volume["Name"], int(numbered[1]), holder))
        return found

    async def _life(self, holder: Holder) -> Life:
        if not re.fullmatch(r"[0-9a-f]{12,64}", holder.container_id):
            holder = replace(holder, container_id="")
        container = await self._engine.inspect(holder.container_id) if holder.container_id else None
        runs = container is not None and container["State"]["Running"]
        pid = int(holder.pid) if re.fullmatch(r"[1-9][0-9]{0,9}", holder.pid) else None
        return judge(
            holder,
            self._me,
            start_ticks=start_ticks_of(str(pid)) if pid else "",
            container_started_at=container["State"]["StartedAt"] if container and runs else "",
            local=self._engine.local,
            hidden=pid is not None and is_hidden(pid),
        )

    def _refusal(self, claim: _FoundClaim, life: Life) -> str:
        holder = claim.holder
        what = "holds it" if life is Life.ALIVE else "may hold it: from here it can't be seen whether it still runs"
        return (
            f"cannot run the instance {self._instance} on Docker Engine at {self._engine.where}: process {holder.pid} "
            f"on {holder.host} with the state directory {holder.state_dir} {what}; stop that daemon, or choose another "
            f"`instance`; if you are sure that it is gone: docker volume rm {claim.volume}"
        )
