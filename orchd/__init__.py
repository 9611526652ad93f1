"""orchd: the daemon that keeps the models of an orchestrator's `aiModels.json` running, and serves their jobs."""

import sys

__version__ = "0.2.0"

if sys.version_info < (3, 11):  # noqa: UP036 - pip refuses it, but a clone can be started by any Python
    sys.exit(
        "orchd: cannot run on Python %d.%d: it needs 3.11 or newer. On Ubuntu 22.04: apt-get install"  # noqa: UP031
        " python3.11-venv, then make demo PYTHON=python3.11" % sys.version_info[:2]
    )
