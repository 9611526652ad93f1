"""Scrapes a page again and again until its stdin ends, then prints how often: `python -m tests.bench.scraper URL`.

A process of its own, so that reading the pages takes no time from what is measured meanwhile.
"""

from __future__ import annotations

import os
import select
import sys
import urllib.request


def main() -> None:
    os.nice(
        int(os.environ.get("SCRAPER_NICE", "10"))
    )  # Prometheus runs elsewhere: it must not take the cores of what is measured.
    count = 0
    print("begins", flush=True)
    while not select.select([0], [], [], 0)[0]:
        with urllib.request.urlopen(sys.argv[1], timeout=60) as answer:
            while answer.read(65_536):
                pass
        count += 1
    os.write(1, str(count).encode())


if __name__ == "__main__":
    main()
