"""Words of Live Runner's protocol that several stages say. Pure.

Source: docs/protocol/live-runner.md, 4.3 and 5; docs/protocol/trickle.md, 2.
"""

from __future__ import annotations

ROUTE, SESSION_ID, TOKEN, CONTROL = (
    "Livepeer-Runner-Route",
    "Livepeer-Session-Id",
    "Livepeer-Session-Token",
    "Livepeer-Session-Control",
)
"""Headers that tell a container of its session, so that it can open channels and stop."""
TRICKLE = "/ai/trickle/"
"""Where channels are, at a node and at orchd."""
