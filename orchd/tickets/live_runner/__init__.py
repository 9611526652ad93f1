"""Payment in Live Runner's way, from the receiver's side: challenge, paid request, top-ups, refresh."""
