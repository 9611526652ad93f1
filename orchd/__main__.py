"""`python -m orchd`."""

import sys

from orchd.cli import main

sys.exit(main())
