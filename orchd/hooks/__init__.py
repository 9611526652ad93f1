"""PUBLIC. What an operator's own code may do about a job: import it from `orchd.hooks.api`.

`orchd/hooks/design.md` tells how it works, `docs/how-to/own-hook.md` how to use it.
"""
