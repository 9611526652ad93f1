"""What a person is told of the node's refusals in the dynamic registry. Pure."""

from __future__ import annotations

from datetime import UTC, datetime

from orchd.advertise.live_runner.dialects.dialect import Dialect
from orchd.domain.ids import ModelKey
from orchd.errors import Code, OrchdError
from orchd.node.ports import NodeError


def refused(key: ModelKey, dialect: Dialect, status: int, said: str, *, why_no_price: str = "") -> OrchdError:
    """Return what the node has refused.

    Args:
        said: the answer's words, without secrets.
        why_no_price: why no price was sent, where the node may want one; empty = one was sent.
    """
    why, code = dialect.why_refused(status, said)
    if why_no_price and status == 400 and "price" in said.lower():
        why, code = f"{why_no_price}: {why}", Code.PRICE_UNPUBLISHABLE
    return _error(key, why, code)


def not_unregistered(key: ModelKey, dialect: Dialect, status: int, said: str) -> OrchdError:
    """Return that the node did not let a model go, which is tried again."""
    why, code = dialect.why_refused(status, said)
    return OrchdError(f"cannot unregister {key} from Live Runner: {why}", code=code)


def wrong_secret(key: ModelKey, dialect: Dialect, file: str, around: str) -> OrchdError:
    """Return that the node has another secret; `around` as in `SecretFileSeen`."""
    return _error(key, dialect.wrong_secret(file, around), Code.NODE_SECRET)


def locked_out(key: ModelKey, dialect: Dialect, until: float) -> OrchdError:
    """Return that the node has a record of ours until it expires, at the Unix time `until` at the latest."""
    at = datetime.fromtimestamp(until, UTC).strftime("%H:%M:%S UTC")
    why = f"{dialect.name} has a record of it whose secret was lost; it is held until it expires, by {at}"
    return _error(key, why, Code.NODE_REFUSED)


def taken_by_another(key: ModelKey, dialect: Dialect, instance: str) -> OrchdError:
    """Return that a record outlives every one that could be ours."""
    why = (
        f"another orchd with instance = {instance!r} is at this {dialect.name} and holds it; give each orchd an "
        "instance of its own (setting instance)"
    )
    return _error(key, why, Code.NODE_REFUSED)


def no_secret(dialect: Dialect) -> NodeError:
    """Return what is wrong where the setting names no secret."""
    return NodeError(
        f"cannot register with Live Runner without {dialect.name}'s {dialect.secret_setting}: name a file that holds "
        "it in orchestrator.secret_file",
        code=Code.NODE_SECRET,
    )


def _error(key: ModelKey, why: str, code: Code) -> OrchdError:
    return OrchdError(f"cannot register {key} with Live Runner: {why}", code=code)
