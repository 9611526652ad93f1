"""The door by which Live Runner's clients come to orchd itself: terms, reservations, jobs and top-ups."""
