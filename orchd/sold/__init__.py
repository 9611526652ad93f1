"""The sessions that orchd sells to clients itself, with no node between: Live Runner, from the receiver's side."""
