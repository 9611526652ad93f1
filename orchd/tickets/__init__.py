"""Is this job paid for, and who asks? The built-in hooks."""
