"""Who holds which slot of which replica, and why. No await in it; `table.py` has the rules."""
