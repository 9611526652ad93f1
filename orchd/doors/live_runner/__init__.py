"""The door by which go-livepeer's Live Runner comes: `/live/SLUG/SEGMENT[/PATH]`."""
