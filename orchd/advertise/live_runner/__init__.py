"""Live Runner, go-livepeer's newer registry: heartbeats, or its list on the CLI port."""
