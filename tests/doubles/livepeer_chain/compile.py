"""Compiles the contracts: `python -m tests.doubles.livepeer_chain.compile` writes `contracts/compiled.json` again.

What lies there is what tests deploy, so that they need anvil alone; a test holds it to the source.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path
from typing import Any

from tests.e2e.environments import CHAIN

FOLDER = Path(__file__).parent / "contracts"
COMPILED = FOLDER / "compiled.json"
SETTINGS: dict[str, Any] = {
    "optimizer": {"enabled": True, "runs": 200},
    "evmVersion": "london",
    # Without them the same source gives the same bytes.
    "metadata": {"bytecodeHash": "none", "appendCBOR": False},
    "outputSelection": {"*": {"*": ["abi", "evm.bytecode.object", "evm.methodIdentifiers"]}},
}


def sources() -> dict[str, str]:
    """Return the source files by name."""
    return {file.name: file.read_text() for file in sorted(FOLDER.glob("*.sol"))}


def fingerprint() -> str:
    """Return what the compiled contracts are made of, as a hash: the source, the settings and the compiler."""
    pinned = json.loads((FOLDER / "package.json").read_text())["dependencies"]["solc"]
    return hashlib.sha256(json.dumps([sources(), SETTINGS, pinned], sort_keys=True).encode()).hexdigest()


def compiled() -> str:
    """Return the text of `compiled.json`, made by the compiler of npm.

    Raises:
        RuntimeError: the source has errors or warnings.
    """
    wanted = {
        "language": "Solidity",
        "sources": {name: {"content": text} for name, text in sources().items()},
        "settings": SETTINGS,
    }
    solc = CHAIN.modules / "solc" / "solc.js"
    run = subprocess.run(
        ["node", solc, "--standard-json"], input=json.dumps(wanted), capture_output=True, text=True, check=True
    )
    made = json.loads(run.stdout[run.stdout.index("{") :])
    if errors := made.get("errors"):
        raise RuntimeError("\n".join(each["formattedMessage"] for each in errors))
    contracts = {
        name: {
            "abi": found["abi"],
            "bytecode": "0x" + found["evm"]["bytecode"]["object"],
            "selectors": {signature: f"0x{each}" for signature, each in found["evm"]["methodIdentifiers"].items()},
        }
        for of_file in made["contracts"].values()
        for name, found in of_file.items()
    }
    return json.dumps({"made_of": fingerprint(), "contracts": contracts}, indent=1, sort_keys=True) + "\n"


if __name__ == "__main__":
    CHAIN.make()
    COMPILED.write_text(compiled())
