"""Answers of the node that it should never give."""

from __future__ import annotations

import json

from hypothesis import strategies as st

from orchd.node.ports import NodeAnswer

NAMES = [
    *("session_ids", "heartbeat_secret", "heartbeat_interval", "heartbeat_ttl", "o2r", "url", "runners", "app"),
    *("capacity", "capacity_used", "price_info", "price", "unit", "event", "session", "available_capacity"),
    *("ticket_params", "pricePerUnit", "label", "healthy"),
]
ODD = st.sampled_from([1e999, -1e999, 10**400, -1, 0, True, "9" * 5000, "\ud800", "5s", "1ns", "9999999h", "http://["])
DOCUMENTS = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(max_size=5) | ODD | st.sampled_from(NAMES),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6),
    max_leaves=12,
)


def answered(document: object) -> NodeAnswer:
    return NodeAnswer(200, json.dumps(document).encode(), "application/json")
