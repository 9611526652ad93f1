"""eth_account, imported when something is signed: that takes half a second."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any


def eth_account() -> Any:
    """Return the package. It raises the recursion limit past what the stack holds; the limit is put back."""
    limit = sys.getrecursionlimit()
    try:
        import_module("eth_account.messages")
        return import_module("eth_account")
    finally:
        sys.setrecursionlimit(limit)
