"""The hook `signed-job`: only who has signed the job may ask, and only if the operator's lists let them.

The sender signs the job in the header `Livepeer` (docs/protocol/byoc.md, 3.1 and 5; docs/protocol/payments.md, 10). Who
asks for terms of payment signs its address alone, in `Livepeer-Eth-Address`: enough for terms, but not for a job, as
anybody who has seen that header can send it. What comes by the node's doors was signed to the node, which does not pass
these headers on: the token stands for them there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import structlog
from pydantic import AfterValidator, Field

from orchd.errors import Code, HookError
from orchd.hooks.hook import HookHost, HookOptions, JobHook, Waits
from orchd.hooks.job import Job
from orchd.hooks.refusal import Refusal
from orchd.settings.files import reason
from orchd.threads import DaemonThreads
from orchd.tickets.validation.credentials import SignedBy, check_signed, read_job, read_payer_credentials
from orchd.tickets.validation.faults import PaymentRefused
from orchd.tickets.validation.schemes import BYOC
from orchd.tickets.validation.signatures import read_address

log = structlog.get_logger("orchd.hooks")

JOB_HEADER = b"livepeer"
ADDRESS_HEADER = b"livepeer-eth-address"
SIGNED = "signed-job.signed"
DENIED = "sender_denied"
READ_TIMEOUT_S = 10.0
Addresses = frozenset[bytes]


def _check_address(text: str) -> str:
    if read_address(text) is None:
        raise ValueError(f"{text[:60]!r} is not an address: write 0x and 40 hex digits")
    return text


def _check_absolute(path: str) -> str:
    if path and not Path(path).is_absolute():
        raise ValueError(f"{path!r} should be an absolute path")
    return path


Listed = tuple[Annotated[str, AfterValidator(_check_address)], ...]
ListFile = Annotated[str, AfterValidator(_check_absolute)]


class SignedJobOptions(HookOptions):
    """Who may ask. Without any list, everybody who signs may."""

    allow: Listed = Field((), description="Addresses that may ask; with allow or allow_file, nobody else may.")
    deny: Listed = Field((), description="Addresses that may not ask, even if they are allowed.")
    allow_file: ListFile = Field("", description="File with more of the first, one a line; # begins a comment.")
    deny_file: ListFile = Field("", description="File with more of the second, in the same form.")
    recheck_s: float = Field(5.0, gt=0, description="Seconds between two looks at whether the files have changed.")


class SenderLists:
    """The addresses that may ask, and those that may not: of the settings, and of files as they were last read."""

    def __init__(self, options: SignedJobOptions) -> None:
        self._named = _addresses(options.allow), _addresses(options.deny)
        self._files = options.allow_file, options.deny_file
        self._exclusive = bool(options.allow or options.allow_file)
        self.allowed, self.denied = self._named

    def refuses(self, sender: bytes) -> bool:
        """Return whether this sender may not ask."""
        return sender in self.denied or (self._exclusive and sender not in self.allowed)

    def read(self) -> bool:
        """Read the files again, and return whether anything has changed. Blocks.

        Raises:
            HookError: one can't be read, or a line of it is no address; the lists stay as they were.
        """
        before = self.allowed, self.denied
        allowed, denied = (_in_file(path) if path else frozenset() for path in self._files)
        self.allowed, self.denied = self._named[0] | allowed, self._named[1] | denied
        return before != (self.allowed, self.denied)


class SignedJob(JobHook):
    """Names the sender as payer."""

    Options = SignedJobOptions

    def __init__(self, options: SignedJobOptions) -> None:
        super().__init__(options)
        self._lists = SenderLists(options)
        self._has_files = bool(options.allow_file or options.deny_file)
        self._recheck_s = options.recheck_s
        self._threads = DaemonThreads("signed-job")

    async def open(self, host: HookHost) -> None:
        await self._read()

    def roots(self) -> Mapping[str, Coroutine[Any, Any, object]]:
        return {"lists of senders": self._watch()} if self._has_files else {}

    async def close(self) -> None:
        self._threads.close()

    def arrive(self, job: Job) -> Waits:
        """Look at the signature before anything of the body is read."""
        if not job.of_node:
            header = job.header(ADDRESS_HEADER) if job.header(JOB_HEADER) is None else None
            if header is None:
                self._let_in(job)
            else:
                self._check(job, lambda: read_payer_credentials(header))
        return None

    def identify(self, job: Job) -> Waits:
        """A job must be signed."""
        if not job.of_node and job.kept(SIGNED) is None:
            self._let_in(job)
        return None

    def _let_in(self, job: Job) -> None:
        self._check(job, lambda: read_job(job.header(JOB_HEADER) or b"").signed)
        job.keep(SIGNED, True)

    def _check(self, job: Job, read: Callable[[], SignedBy]) -> None:
        try:
            signed = read()
            check_signed(signed)
        except PaymentRefused as exc:
            raise Refusal(
                BYOC.status(exc.fault.blame), exc.message, reason=exc.fault.value, code=Code.FORBIDDEN
            ) from exc
        if self._lists.refuses(signed.sender):
            raise Refusal(403, "cannot serve the job: its sender may not ask here", reason=DENIED, code=Code.FORBIDDEN)
        job.set_payer(f"0x{signed.sender.hex()}")

    async def _watch(self) -> None:
        broken = ""
        while True:
            await asyncio.sleep(self._recheck_s)
            try:
                if await self._read():
                    lists = self._lists
                    log.info("sender_lists_changed", allowed=len(lists.allowed), denied=len(lists.denied))
                broken = ""
            except HookError as exc:
                if exc.message != broken:  # Once, and not at each look.
                    broken = exc.message
                    log.error("sender_lists_unreadable", reason=broken, next="the lists stay as they were")

    async def _read(self) -> bool:
        try:
            return await self._threads.run(self._lists.read, READ_TIMEOUT_S)
        except TimeoutError as exc:
            raise HookError(
                f"cannot read the lists of the hook signed-job: their disk has not answered for {READ_TIMEOUT_S:g} s"
            ) from exc


def _addresses(texts: tuple[str, ...]) -> Addresses:
    return frozenset(address for text in texts if (address := read_address(text)) is not None)


def _in_file(path: str) -> Addresses:
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, ValueError) as exc:
        why = reason(exc) if isinstance(exc, OSError) else "it is not text"
        raise HookError(f"cannot read the list of senders {path}: {why}") from exc
    return frozenset(_in_lines(path, text))


def _in_lines(path: str, text: str) -> Iterator[bytes]:
    for number, line in enumerate(text.splitlines(), start=1):
        if word := line.partition("#")[0].strip():
            address = read_address(word)
            if address is None:
                raise HookError(
                    f"cannot use the list of senders {path}, line {number}: {word[:60]!r} is not an address; write 0x "
                    "and 40 hex digits"
                )
            yield address
