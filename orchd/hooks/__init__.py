"""PUBLIC. What an operator's own code may do about a job. Import from `orchd.hooks.api`; `design.md` explains it."""
