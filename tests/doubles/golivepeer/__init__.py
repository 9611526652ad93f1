"""A test double of go-livepeer: what the real node answers and calls, its quirks included, on a clock that tests move.

In a test: `async with Node(NodeSettings(...), Clock()) as node`, or `kit.kit()` with a worker and a caller around it.
As a process: `python -m tests.doubles.golivepeer --help`.

Its contract is the recordings in `transcripts/` (of real nodes) and, where they are silent, byoc.md, live-runner.md,
go-livepeer-cli.md and trickle.md."""
