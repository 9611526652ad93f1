"""What the doubles of Livepeer's node programs share: Go's HTTP and JSON, trickle, a clock, a worker, a caller."""
