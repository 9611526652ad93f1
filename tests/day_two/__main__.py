"""Write what the commands of `docs/how-to/day-two.md` print now into the page: `python -m tests.day_two`."""

from __future__ import annotations

import contextlib
import secrets

import docker

from tests.day_two.local import machine
from tests.day_two.walk import PAGE, written


def main() -> None:
    name = f"t-day-two-{secrets.token_hex(4)}"
    with contextlib.closing(docker.DockerClient(version="auto")) as client:
        network = client.networks.create(name)
        try:
            with machine(name, name) as here:
                PAGE.write_text(here.as_on_the_page(written(here, PAGE.read_text())))
        finally:
            network.remove()


if __name__ == "__main__":
    main()
