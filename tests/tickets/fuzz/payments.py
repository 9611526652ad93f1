"""Reads any bytes as each header that payers send: they are read, or refused with a code, and nothing else.

`python -m tests.tickets.fuzz.payments FOLDER -runs=100000` goes on for that many inputs, and keeps those in the folder
that reach new lines of the readers; the flags are libFuzzer's. An input's first byte chooses the reader.
"""

from __future__ import annotations

import base64
import contextlib
import sys
import warnings
from pathlib import Path

import atheris

with warnings.catch_warnings(), atheris.instrument_imports(include=["orchd.tickets.validation"]):
    warnings.simplefilter("ignore")
    from orchd.tickets.validation.credentials import check_signed, read_job, read_payer, read_payer_credentials
    from orchd.tickets.validation.faults import PaymentRefused
    from orchd.tickets.validation.messages import PaymentMessage
    from orchd.tickets.validation.payment import read_payment
    from orchd.tickets.validation.schemes import BYOC
    from orchd.tickets.validation.segments import read_segment
    from orchd.tickets.validation.validate import Expected, validate
    from orchd.tickets.validation.wire import WireError, decode, encode

from tests.tickets.validation.made import PAYER, RECIPIENT, as_header, good, segment
from tests.tickets.validation.receiver import Receiver
from tests.tickets.validation.sender import header
from tests.tickets.validation.test_bad_input import job


def seeds() -> list[bytes]:
    """Return inputs to begin with: one that is good for each reader."""
    payment, credentials = good(), segment()
    found = [header(payment), encode(payment), job(), as_header(credentials), base64.b64decode(job())]
    return [bytes((n,)) + data for n, data in enumerate(found)]


def read(data: bytes) -> None:
    """Read one input."""
    kind, data = data[:1], data[1:]
    encoded = base64.b64encode(data)
    with contextlib.suppress(PaymentRefused, WireError):
        match kind[0] % 5 if kind else 0:
            case 0:
                _judge(data)
            case 1:
                sent = decode(PaymentMessage, data)
                assert decode(PaymentMessage, encode(sent)) == sent
                _judge(encoded)
            case 2:
                check_signed(read_job(data).signed)
            case 3:
                read_segment(data)
                read_payer(data)
            case _:
                check_signed(read_payer_credentials(encoded))
                read_job(encoded)


def _judge(data: bytes) -> None:
    payment, to = read_payment(data), Receiver()
    validate(payment, Expected(BYOC, RECIPIENT, PAYER.address, "paint"), to.rands, to.facts(payment))


def main(corpus: Path, *flags: str) -> None:
    """Begin with the good ones, and go on until an input fails or `-runs` are over. Ends the process."""
    for n, data in enumerate(seeds()):
        (corpus / str(n)).write_bytes(data)
    atheris.Setup([sys.argv[0], *flags, str(corpus)], read)
    atheris.Fuzz()


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
