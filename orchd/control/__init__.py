"""What the commands that order the daemon about talk to."""
