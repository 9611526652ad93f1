"""The door by which Live Runner comes, of go-livepeer and of Livepeer Node: `/live/SLUG/SEGMENT[/PATH]`."""
