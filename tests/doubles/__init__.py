"""Stand-ins for whole programs that can't be had here. See README.md."""
