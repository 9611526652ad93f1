"""A local chain with the part of Livepeer's protocol that a receiver of tickets knows: anvil, and contracts of ours."""
