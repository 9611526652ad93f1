"""`python -m tests.bench.proxy_orchd TOKEN FLAG...`: `orchd run` with one hook more, which asks for the token."""

from __future__ import annotations

import argparse
import hmac
import os

from orchd.cli.daemon import run_daemon
from orchd.cli.flags import add_settings_flags, settings_of
from orchd.errors import Code, JobRefused
from orchd.hooks.hook import HookOptions, JobHook
from orchd.hooks.job import Job
from orchd.hooks.part import HooksPart


class Bearer(JobHook):
    """Refuses a job without the token."""

    def __init__(self, token: str) -> None:
        super().__init__(HookOptions())
        self._expected = f"Bearer {token}".encode()

    def identify(self, job: Job) -> None:
        if not hmac.compare_digest(job.header(b"authorization") or b"", self._expected):
            raise JobRefused(Code.FORBIDDEN, "cannot take the job: its bearer token is not the one")


def guarded_by(token: str) -> type[HooksPart]:
    """Return the part that loads hooks, with this one more."""

    class Guarded(HooksPart):
        def load(self) -> list[tuple[str, JobHook]]:
            return [*super().load(), ("bearer", Bearer(token))]

    return Guarded


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.proxy_orchd", allow_abbrev=False)
    parser.add_argument("token")
    add_settings_flags(parser)
    args = parser.parse_args()
    run_daemon(settings_of(args, os.environ), {HooksPart: guarded_by(args.token)})


if __name__ == "__main__":
    main()
