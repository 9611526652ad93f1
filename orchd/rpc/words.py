"""What contracts return: words of 32 bytes; and what a block's header says. Pure.

All that orchd reads of contracts is made of such words (docs/protocol/payments.md, 12.1), so no library is needed.
"""

from __future__ import annotations

import re
from typing import Any

from orchd.rpc.ports import RpcFault

WORD = 32
_QUANTITY = re.compile(r"0x[0-9a-fA-F]{1,64}")


def words_of(result: Any, count: int) -> list[int]:
    """Return the first `count` words that a function returns, unsigned.

    Raises:
        RpcFault: it returns fewer, or there is no such function.
    """
    try:
        data = bytes.fromhex(result.removeprefix("0x")) if isinstance(result, str) else b""
    except ValueError:
        data = b""
    if not data:
        raise RpcFault("there is no such contract on the RPC server's chain, or it is another one")
    if len(data) < WORD * count:
        raise RpcFault(f"it returns {len(data)} bytes, and not {WORD * count}")
    return [int.from_bytes(data[at : at + WORD], "big") for at in range(0, WORD * count, WORD)]


def quantity_of(value: Any, what: str) -> int:
    """Return a number as JSON-RPC has it, such as 0x1b4.

    Raises:
        RpcFault: it is not a number.
    """
    if not isinstance(value, str) or not _QUANTITY.fullmatch(value):
        raise RpcFault(f"it gives no {what}")
    return int(value, 16)


def word(value: int | bytes) -> str:
    """Return a number, or the bytes of an address or hash, as 64 hex digits."""
    return (value if isinstance(value, int) else int.from_bytes(value, "big")).to_bytes(WORD, "big").hex()
