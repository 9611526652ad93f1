"""How people name a setting, in the file, as a flag and as a variable; and the names that settings had before. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence

ENV_PREFIX = "ORCHD_"

RENAMED: Mapping[str, str] = {
    "jobs.look_us": "jobs.busy_poll_us",
    "orchestrator.rpc_url_file": "chain.rpc_url_file",
}
"""Former names of settings, which are still read, with a warning."""
FORMER_UNTIL = "0.3"
"""The version that reads these no more: what a version names or finds otherwise is read as before for one version."""


def flag_name(name: str) -> str:
    """Return the flag of a setting: `--jobs-listen` for `jobs.listen`."""
    return "--" + re.sub(r"[._]", "-", name)


def env_name(name: str) -> str:
    """Return the environment variable of a setting: `ORCHD_JOBS_LISTEN` for `jobs.listen`."""
    return ENV_PREFIX + name.replace(".", "_").upper()


def nearest_name(name: str, known: Sequence[str]) -> str:
    """Return the one of `known` that `name` most likely means.

    Such as `--admin-listen` for `--admin`; and `jobs.hold_limit` for one in the wrong section, or in none.
    """
    words = _words(name)
    leaf = words[1:]
    by_worth = (
        [one for one in known if _words(one)[: len(words)] == words or _words(one)[-len(words) :] == words],
        difflib.get_close_matches(name, known, cutoff=0.9),
        [one for one in known if leaf and _words(one)[-len(leaf) :] == leaf],
    )
    return difflib.get_close_matches(name, next(filter(None, by_worth), known), n=1, cutoff=0.0)[0]


def _words(name: str) -> list[str]:
    return re.split(r"[._-]+", name.lower().strip("-").removeprefix(ENV_PREFIX.lower()))
