"""What orchd did and why, kept over restarts: behind `orchd events`, and what is known when no daemon runs."""
