"""What trials of `orchestrator.callback_url` say: can the node's jobs reach us, and if not, what is to do? Pure."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

from orchd.advertise.registry import NodeTrial, TrialResult
from orchd.domain.offer import Callback, NodeProgram
from orchd.errors import Code

_WHERE = "(orchestrator.callback_url)"
_BAD = (TrialResult.REFUSED, TrialResult.ELSEWHERE, TrialResult.SILENCE)


@dataclass(frozen=True, slots=True)
class Tried:
    """What has been tried.

    Attributes:
        by_us: why orchd does not reach itself there; empty = it does; None = not tried yet.
        by_node: None = not tried since the node's last start.
        program: which one the node is; None = not known.
    """

    url: str
    by_us: str | None = None
    by_node: NodeTrial | None = None
    program: NodeProgram | None = None


def verdict(tried: Tried, before: Callback, now: float, *, allow_direct: bool) -> Callback:
    """Return how jobs reach us.

    Args:
        before: as it was; tells since when.
        now: Unix time.
        allow_direct: as in the settings: jobs may come another way.
    """
    result = tried.by_node.result if tried.by_node else None
    by_us = None if tried.by_us is None else not tried.by_us
    by_node = True if result is TrialResult.ARRIVED else False if result in _BAD else None
    error, code = (
        _error(tried) if by_node is False else _not_by_us(tried) if by_us is False and not by_node else ("", None)
    )
    found = Callback(
        url=tried.url,
        by_us=by_us,
        by_node=by_node,
        error=error,
        code=code,
        note="" if error else _note(tried, result),
        blocks=by_node is False and not allow_direct,
    )
    same = (by_us, by_node) == (before.by_us, before.by_node)
    return replace(found, since=before.since if same else now)


def grant_of(url: str) -> str | None:
    """Return what Livepeer Node must be granted to dial this URL: an IP literal with its port; None = it has a name."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        literal = f"[{host}]" if ipaddress.ip_address(host).version == 6 else host
    except ValueError:
        return None
    return f"{literal}:{parts.port or (443 if parts.scheme == 'https' else 80)}"


def grant_lines(url: str) -> str:
    """Return the lines that Livepeer Node's configuration needs, or what to do first."""
    if (grant := grant_of(url)) is not None:
        return f'RunnerGrants = ["{grant}"] and SessionProxyGrants = ["{grant}"]'
    parts = urlsplit(url)
    host = "127.0.0.1" if parts.hostname == "localhost" else "IP"
    grant = f"{host}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    return (
        f'RunnerGrants = ["{grant}"] and SessionProxyGrants = ["{grant}"], and orchestrator.callback_url the same '
        f"address in place of the name {parts.hostname}: names can't be granted"
    )


def _error(tried: Tried) -> tuple[str, Code]:
    """Return what is wrong after the node has failed to pass a job on."""
    assert tried.by_node is not None
    result, said = tried.by_node
    node = tried.program.in_words if tried.program else "the node"
    if result is TrialResult.ELSEWHERE:
        why = f"another server answers there ({said}); name the address of jobs.listen as the node sees it"
        return f"cannot get jobs from {node} at {tried.url} {_WHERE}: {why}", Code.CALLBACK_UNREACHABLE
    if tried.program is NodeProgram.LIVEPEER_NODE and not tried.by_us and result is TrialResult.REFUSED:
        return (
            f"cannot get jobs from Livepeer Node: it may not dial {tried.url} {_WHERE}, and answers every job with "
            f"{said}. Its file needs {grant_lines(tried.url)}; then start it again",
            Code.NODE_GRANT,
        )
    own = f"; orchd does not reach itself there either: {tried.by_us}" if tried.by_us else ""
    how = f"it does not get there ({said}){own}"
    more = ""
    if tried.program is NodeProgram.LIVEPEER_NODE:
        more = f". It also needs {grant_lines(tried.url)}"
    return (
        f"cannot get jobs from {node} at {tried.url} {_WHERE}: {how}; name an address at which the node reaches "
        f"the job listener (jobs.listen){more}",
        Code.CALLBACK_UNREACHABLE,
    )


def _not_by_us(tried: Tried) -> tuple[str, Code]:
    return (
        f"cannot reach orchd's own job listener at {tried.url} {_WHERE}: {tried.by_us}; if the node does not either, "
        "every job fails: name the address of jobs.listen as the node sees it",
        Code.CALLBACK_UNREACHABLE,
    )


def _note(tried: Tried, result: TrialResult | None) -> str:
    """Return what a person should make sure of, since it could not be tried."""
    if tried.by_node is None or tried.program is not NodeProgram.LIVEPEER_NODE or result is not TrialResult.UNTESTABLE:
        return ""
    return (
        f"cannot test whether Livepeer Node may dial orchd, since {tried.by_node.said}: make sure that its "
        f"configuration has {grant_lines(tried.url)}"
    )
