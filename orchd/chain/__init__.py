"""What the chain says: rounds, blocks, and what backs a payer's tickets. Off unless the settings name a chain."""
