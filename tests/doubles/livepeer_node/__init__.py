"""A test double of Livepeer Node's orchestrator (`livepeer/node`), off-chain: what the real program answers and calls.

In a test: `async with Node(NodeSettings(...), Clock()) as node`, or `kit.kit()` with a worker and a caller around it.
As a process: `python -m tests.doubles.livepeer_node --help`.

Its contract is the recordings `node-*.json` and, where they are silent, livepeer-node.md and trickle.md."""
