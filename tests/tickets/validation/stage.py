"""Plays recorded payments against our receiver.

Each is moved onto terms that our receiver has made: commitment and seed are ours, signatures are made anew by the key
that had made them, and whatever is wrong with the payment is still wrong in the same way.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field, replace
from fractions import Fraction

from orchd.domain.chain import TermsOf
from orchd.tickets.live_runner.credentials import read_paid
from orchd.tickets.validation.credentials import read_job, read_payer
from orchd.tickets.validation.faults import Fault, PaymentRefused
from orchd.tickets.validation.grants import AuthKey, Grant, make_auth_token, read_auth_token
from orchd.tickets.validation.keys import SEED_RANDOM_BYTES, Basis
from orchd.tickets.validation.messages import (
    AuthToken,
    OrchestratorInfo,
    PaymentMessage,
    QuotedPrice,
    SegmentMessage,
    TicketParams,
    TicketSenderParams,
)
from orchd.tickets.validation.payment import from_base64, from_protobuf, read_payment, read_terms
from orchd.tickets.validation.schemes import BYOC, LIVE_RUNNER
from orchd.tickets.validation.segments import read_segment
from orchd.tickets.validation.signatures import signer_of
from orchd.tickets.validation.tickets import TicketTerms, commitment_to, ticket_hash
from orchd.tickets.validation.validate import Expected, Taken
from orchd.tickets.validation.wire import WireError, decode, encode
from orchd.tickets.validation.worth import Economics, make_terms
from tests.doubles.gateway.tokens import params_of, price_of
from tests.tickets.validation.receiver import ETH, FUNDED, KEY, Receiver
from tests.tickets.validation.recordings import Recorded
from tests.tickets.validation.sender import Signer, high_s

# Keys of the recordings: anvil's well-known ones, and throw-away ones. The last signs what nobody known has signed.
SIGNERS = [
    *(Signer(bytes([digit]) * 32) for digit in (0x42, 0x43, 0x46, 0x47)),
    Signer("59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d"),
    Signer("5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a"),
    Signer("7c852118294e51e653712a81e05800f419141751be58f605c371e15141b007a6"),
    Signer(b"\x99" * 32),
]
PAYER_A = SIGNERS[5].address
FUNDS = {
    bytes.fromhex("15d34aaf54267db7d7c367839aaf71a00a2c6a65"): replace(FUNDED, deposit=0, reserve=0),
    bytes.fromhex("9965507d1a55bcc2695c58ba16fb37d819b0a4dc"): replace(FUNDED, deposit=ETH, reserve=1000),
}
"""Of payers that have less than the others."""
ECONOMICS = Economics(ticket_value=200_000_000_000, gas_price=20_000_000)
"""What the recorded receivers of Live Runner were told."""
UNSEEN = {
    "tickets on the terms of another challenge of the same payer (manifest A, terms B)",
    "after: payment on terms issued before the restart, never used",
    "SSE that outlives its money: 4 tickets (3.2e10 wei, 63 s), timeout_seconds 100",
}
"""Steps on terms that no step shows but the payment itself, as the first of some recordings."""
AUTH_KEY = AuthKey(3, b"a" * 32)


@dataclass(frozen=True)
class Offered:
    """Terms of the recording, and ours in their place."""

    terms: TicketTerms
    ours: TicketTerms
    price: Fraction
    auth: AuthToken
    our_auth: AuthToken


@dataclass
class Stage:
    """Plays the steps of one recording, in their order.

    Attributes:
        live: it is one of Live Runner's.
        shows_challenges: if not, terms are those of the payments themselves.
        apart: each payment is judged by itself, as if there were no other.
    """

    live: bool
    shows_challenges: bool = True
    apart: bool = False
    receiver: Receiver = field(default_factory=Receiver)
    offered: dict[bytes, Offered] = field(default_factory=dict)
    last: Offered | None = None
    challenged: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    """By manifest: for whom and on which runner."""

    def play(self, step: Recorded) -> Taken:
        """Return what our receiver takes of a step.

        Raises:
            PaymentRefused: it takes nothing.
        """
        if self.apart:
            self.last = None
            self.offered.clear()
            self.receiver.nonces.clear()
        self.learn(step)
        header = (step.payment or "").strip().encode()
        try:
            sent = decode(PaymentMessage, from_base64(header, Fault.PAYMENT_BASE64, ""))
        except (PaymentRefused, WireError):
            sent = None
        unseen = step.step in UNSEEN or not self.shows_challenges or (self.last is None and not self.apart)
        if sent is not None and unseen:
            self.offer_as_paid(step, sent)
        if sent is not None and header:
            header = base64.b64encode(encode(self.moved(sent)))
        return self.live_runner(step, header) if self.live else self.byoc(step, header)

    def ask(self, step: Recorded) -> None:
        """Make terms for who asks for some without a payment.

        Raises:
            PaymentRefused: it gets none.
        """
        self.learn(step)
        payer = read_payer((step.payer or "").strip().encode())
        basis = Basis(LIVE_RUNNER.name, payer, Fraction(ECONOMICS.ticket_value))
        make_terms(
            KEY,
            bytes(SEED_RANDOM_BYTES),
            basis,
            bytes(20),
            ECONOMICS,
            FUNDS.get(payer, FUNDED),
            TermsOf(1, 1, b"1" * 32),
        )

    def learn(self, step: Recorded) -> None:
        """Make terms of ours for each that the recording offers, and see what it says of the chain."""
        if step.challenge:
            info = decode(OrchestratorInfo, base64.b64decode(step.challenge["payment_params"]))
            assert info.ticket_params is not None
            assert info.price_info is not None
            assert info.auth_token is not None
            runner = runner_of(step.challenge["payment_url"])
            # Where a payment brings its own challenge along, payer A had asked for it; a signer was asked by its own.
            asked = PAYER_A if step.payment is not None and step.target else payer_of(step)
            of = self.challenged.setdefault(info.auth_token.session_id, (asked, runner))
            self.offer(info.ticket_params, info.price_info, of[0], info.auth_token, of[1])
        elif step.token:
            self.offer(params_of(step.token["ticket_params"]), price_of(step.token["price"]), payer_of(step))
        if step.block is not None:
            self.receiver.l1_block = max(self.receiver.l1_block, step.block)
        self.receiver.round = max(self.receiver.round, step.round or 0)

    def offer_as_paid(self, step: Recorded, sent: PaymentMessage) -> None:
        """Make terms of ours for those of a payment that no step shows."""
        assert sent.ticket_params is not None
        assert sent.expected_price is not None
        auth = None
        if step.segment:
            auth = decode(SegmentMessage, base64.b64decode(step.segment)).auth_token
        params = replace(sent.ticket_params, expiration_params=sent.expiration_params)
        self.offer(params, sent.expected_price, sent.sender, auth, runner_of(step.target))

    def offer(
        self, params: TicketParams, quoted: QuotedPrice, payer: bytes, auth: AuthToken | None = None, runner: str = ""
    ) -> None:
        """Make terms of ours that differ from these in seed and commitment alone."""
        known = self.offered.get(params.recipient_rand_hash)
        if known:
            self.last = known
            return
        try:
            terms = read_terms(params, None)
        except PaymentRefused:
            return  # We would never make such terms.
        price = Fraction(quoted.price_per_unit, quoted.pixels_per_unit)
        bare = replace(terms, seed=KEY.seed(len(self.offered).to_bytes(SEED_RANDOM_BYTES, "big")))
        basis = Basis((LIVE_RUNNER if self.live else BYOC).name, payer, price, "" if self.live else "work")
        ours = replace(bare, commitment=commitment_to(KEY.rand(bare, basis)))
        auth = auth or AuthToken()
        grant = Grant(runner, payer, price, fixed=False, single_shot=False, issued_at=0)
        our_auth = make_auth_token(AUTH_KEY, grant, auth.session_id, auth.expiration)
        self.last = self.offered[terms.commitment] = Offered(terms, ours, price, auth, our_auth)
        self.receiver.round = max(self.receiver.round, terms.creation_round)

    def moved(self, sent: PaymentMessage) -> PaymentMessage:
        """Return a payment on our terms, with all that is wrong with it."""
        params = sent.ticket_params
        if params is None or self.last is None:
            return sent
        on = self.offered.get(params.recipient_rand_hash, self.last)
        wire = on.terms.on_wire()
        ours = on.ours.on_wire()
        seed = ours.seed
        if int.from_bytes(params.seed, "big") != on.terms.seed:
            seed = seed[:-1] + bytes((seed[-1] ^ 1,))
        same = params.recipient_rand_hash == wire.recipient_rand_hash
        commitment = ours.recipient_rand_hash if same else params.recipient_rand_hash
        moved = replace(params, recipient_rand_hash=commitment, seed=seed)
        try:
            before = read_terms(params, sent.expiration_params)
            after = read_terms(moved, sent.expiration_params)
        except PaymentRefused:
            return replace(sent, ticket_params=moved)
        tickets = tuple(signed_anew(each, before, after, sent.sender) for each in sent.ticket_sender_params)
        return replace(sent, ticket_params=moved, ticket_sender_params=tickets)

    def byoc(self, step: Recorded, header: bytes) -> Taken:
        assert step.job is not None
        job = read_job(step.job.encode())
        recipient = self.last.terms.recipient if self.last else bytes(20)
        return self.receiver.pay(read_payment(header), Expected(BYOC, recipient, job.signed.sender, "work"))

    def live_runner(self, step: Recorded, header: bytes) -> Taken:
        segment, keys = self.moved_segment((step.segment or "").encode()), {AUTH_KEY.id: AUTH_KEY}
        runner = runner_of(step.target) or read_auth_token(read_segment(segment).auth, keys).runner
        paid = read_paid(segment, header, keys, runner=runner, now=0)
        assert self.last is not None
        expected = Expected(LIVE_RUNNER, self.last.terms.recipient, paid.payment.sender, price=paid.grant.price)
        return self.receiver.pay(paid.payment, expected, paid.manifest)

    def moved_segment(self, header: bytes) -> bytes:
        """Return it with our auth token: its signature does not cover the token."""
        try:
            sent = from_protobuf(SegmentMessage, from_base64(header, Fault.SEGMENT_BASE64, ""), Fault.SEGMENT_HASH, "")
        except PaymentRefused:
            return header
        auth = sent.auth_token
        if auth is None:
            return header
        of_it = [each for each in self.offered.values() if each.auth.token == auth.token]
        if of_it:
            auth = replace(auth, token=of_it[0].our_auth.token)
        return base64.b64encode(encode(replace(sent, auth_token=auth)))


def runner_of(target: str) -> str:
    """Return which runner a path is for."""
    return target.partition("/apps/")[2].partition("/")[0]


def payer_of(step: Recorded) -> bytes:
    """Return who gets the terms of a step: who pays in it, or asks."""
    if step.payer:
        return bytes.fromhex(step.payer.strip().removeprefix("0x"))
    return read_job(step.job.encode()).signed.sender if step.job else b""


def signed_anew(sent: TicketSenderParams, before: TicketTerms, after: TicketTerms, sender: bytes) -> TicketSenderParams:
    """Return the ticket on other terms, signed by the key that had signed it, and in the same form."""
    sender = sender[-20:].rjust(20, b"\0")
    hashed = ticket_hash(before, sender, sent.sender_nonce)
    shown = sent.sig
    forms = {  # How it is shown, and how it must look to be recovered.
        "low v": shown[:64] + bytes((shown[64] + 27,)) if len(shown) == 65 and shown[64] < 2 else b"",
        "high s": high_s(shown) if len(shown) == 65 and shown[64] in (27, 28) else b"",
        "short": shown + b"\x1b" if len(shown) == 64 else b"",
        "short, the other v": shown + b"\x1c" if len(shown) == 64 else b"",
    }
    form, made = "", SIGNERS[-1].sign(hashed)
    for shape, signature in {"": shown, **forms}.items():
        found = signer_of(hashed, signature)
        for signer in SIGNERS:
            if signer.address == found:
                form, made = shape, signer.sign(ticket_hash(after, sender, sent.sender_nonce))
    match form:
        case "low v":
            made = made[:64] + bytes((made[64] - 27,))
        case "high s":
            made = high_s(made)
        case "short" | "short, the other v":
            made = made[:64]
    return replace(sent, sig=made)
