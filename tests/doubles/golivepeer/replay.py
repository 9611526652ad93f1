"""Plays a recording of a real go-livepeer against the double: what `shared.player` does, and the chain around the node.

Rules pick the steps (`picked`): a new file needs no code here, unless it wants a node with a past (`stages`).
"""

from __future__ import annotations

import copy
from typing import Any

from tests.doubles.golivepeer.chain import Chain
from tests.doubles.golivepeer.node import Node, NodeSettings
from tests.doubles.shared import player
from tests.doubles.shared.clock import Clock
from tests.doubles.shared.player import Player
from tests.doubles.shared.recordings import Differs, Step
from tests.doubles.shared.worker import RAW_WORKERS, RawWorker, Worker

# Where the recorded nodes and the recorded worker listened.
SERVICE = {"off": "127.0.0.1:8935", "on": "127.0.0.1:8946"}
WORKER_PORTS = (9901, 9911)


def picked(file: str, step: Step) -> bool:
    """Whether a step is one request that the rules replay: on the service or CLI port, on chain without a payment."""
    if step.get("listener") not in ("service", "cli") or "target" not in step.get("request", {}):
        return False
    return not paid(file, step)


def paid(file: str, step: Step) -> bool:
    """Whether a step carries real tickets."""
    return file.startswith("onchain-") and "Livepeer-Payment" in step.get("request", {}).get("headers", {})


class Replay(Player):
    """One file on one fresh node."""

    worker: Worker

    def __init__(self, file: str, stage: Stage) -> None:
        chain = "on" if file.startswith("onchain-") else "off"
        defaults: dict[str, Any] = {"service_uri": f"https://{SERVICE[chain]}"}
        defaults |= {"use_live_runners": True} if chain == "off" else {"on_chain": Chain()}
        clock = Clock()
        # A chain changes while a file runs, and the next run needs a fresh one.
        self.node = Node(NodeSettings(**defaults | copy.deepcopy(dict(stage.settings))), clock)
        worker = Worker(clock)
        super().__init__(stage, self.node, clock, worker, SERVICE[chain])
        raw = {port: RawWorker(serve) for port, serve in RAW_WORKERS.items()}
        self.parts += raw.values()
        ours = dict.fromkeys(WORKER_PORTS, worker.port) | {port: one.port for port, one in raw.items()}
        self.to_ours = {f"127.0.0.1:{port}": f"127.0.0.1:{own}" for port, own in ours.items()}
        recorded_first = WORKER_PORTS[1] if chain == "on" else WORKER_PORTS[0]
        self.to_theirs = {own: theirs for theirs, own in self.to_ours.items()}
        self.to_theirs[f"127.0.0.1:{worker.port}"] = f"127.0.0.1:{recorded_first}"

    def url_of(self, listener: str) -> str:
        return self.node.service_url if listener == "service" else self.node.cli_url

    def any_body(self, target: str) -> bool:
        # Which metrics there are is no part of the contract.
        return target == "/metrics"

    def meanwhile(self, step: Step) -> None:
        """Some steps say where the chain has got to by then."""
        chain, said = self.node.settings.on_chain, step.get("chain")
        if chain is not None and said is not None:
            chain.block = said["block"]
            chain.round, chain.round_block_hash = said["last_initialized_round"], said["block_hash_for_last_round"]
            chain.initialized = said["current_round_initialized"]

    def beside(self, step: Step) -> None:
        """Recorded beside the answer: what the registry says by now, and what the node calls itself."""
        if "uri_on_chain" not in step:
            return
        chain = self.node.settings.on_chain
        assert chain is not None
        uri = self.node.service_uri if chain.uri is None else chain.uri
        if (uri, self.node.service_uri) != (step["uri_on_chain"], step["service_addr_in_token"]):
            raise Differs(f"the chain says {uri}, tokens {self.node.service_uri}")


Stage = player.Stage[Replay]
