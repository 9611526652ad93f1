"""Coverage-guided fuzzing of what payers send; see `payments.py`."""
