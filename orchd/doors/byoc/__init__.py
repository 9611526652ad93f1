"""The door by which go-livepeer's BYOC comes: `/byoc/SLUG[/PATH]`."""
