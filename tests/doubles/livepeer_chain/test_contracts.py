"""The contracts: compiled from the source beside them, with the selectors and events of payments.md."""

from __future__ import annotations

import json
import re
from pathlib import Path

from eth_hash.auto import keccak

from tests.conftest import cannot_run
from tests.doubles.livepeer_chain.chain import contracts, selectors_of, types_of
from tests.doubles.livepeer_chain.compile import COMPILED, compiled, fingerprint
from tests.e2e.environments import CHAIN

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "protocol" / "payments.md"
VECTORS = ROOT / "tests" / "data" / "protocol" / "vectors" / "tickets.json"


def test_what_is_compiled_is_this_source_by_this_compiler() -> None:
    assert json.loads(COMPILED.read_text())["made_of"] == fingerprint(), (
        "the contracts were changed: python -m tests.doubles.livepeer_chain.compile"
    )


def test_the_compiler_makes_the_same_of_it_again() -> None:
    if not CHAIN.ready():
        cannot_run(f"no {CHAIN.about}: python -m tests.e2e.environments")
    assert compiled() == COMPILED.read_text()


def test_the_functions_are_those_that_a_receiver_calls_by_the_page() -> None:
    rows = re.findall(r"^\| (\w+) \| `(\w+\(.*\))`[^|]*\| `(0x[0-9a-f]{8})` \|", PAGE.read_text(), re.MULTILINE)
    assert len(rows) == 21
    for contract, signature, selector in rows:
        assert selectors_of(contract)[signature] == selector


def test_the_events_are_those_of_the_vectors() -> None:
    made = {
        f"{each['name']}({','.join(given['type'] for given in each['inputs'])})"
        for contract in contracts().values()
        for each in contract["abi"]
        if each["type"] == "event"
    }
    named = json.loads(VECTORS.read_text())["event_topics"]
    del named["ServiceURIUpdate(address,string)"]  # Of the ServiceRegistry, which receivers of tickets don't need.
    assert named
    for signature, topic in named.items():
        assert signature in made
        assert topic == "0x" + keccak(signature.encode()).hex()


def test_types_of_a_signature_are_split_outside_of_tuples() -> None:
    assert types_of("a()") == []
    assert types_of("a((address,bytes)[],uint256)") == ["(address,bytes)[]", "uint256"]
