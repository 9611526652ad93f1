"""Is this job paid for? The node settles payment and proves it by the tokens that it had from us."""
