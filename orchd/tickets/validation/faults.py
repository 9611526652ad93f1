"""Why a payment is refused: one stable code for each reason. Pure."""

from __future__ import annotations

from enum import StrEnum

from orchd.errors import Code, OrchdError


class Grade(StrEnum):
    """How grave a fault is to go-livepeer, which credits some tickets of a batch; here each refuses all of it."""

    UNREADABLE = "unreadable"
    REJECT = "reject"
    FATAL = "fatal"
    ACCEPTABLE = "acceptable"


class Blame(StrEnum):
    """Who can do what about a fault: it decides the status of the answer (`schemes.Scheme.status`)."""

    PAYER_UNNAMED = "payer_unnamed"
    UNREADABLE = "unreadable"
    TOO_LONG = "too_long"
    CREDENTIALS = "credentials"
    FOREIGN = "foreign"
    MANIFEST = "manifest"
    PAYMENT = "payment"
    STALE = "stale"
    FUNDS = "funds"
    SHORT = "short"
    NO_SESSION = "no_session"
    SESSION = "session"
    OURS = "ours"


class Fault(StrEnum):
    """All reasons. The value is the code in answers, logs and metrics.

    Attributes:
        grade: of payments.md, section 6.
        blame: who can do what about it.
    """

    grade: Grade
    blame: Blame

    def __new__(cls, code: str, grade: Grade, blame: Blame) -> Fault:
        made = str.__new__(cls, code)
        made._value_ = code
        made.grade, made.blame = grade, blame
        return made

    # The headers that say who asks and who pays.
    PAYER_MISSING = "payer_missing", Grade.UNREADABLE, Blame.PAYER_UNNAMED
    PAYER_ADDRESS = "payer_address", Grade.UNREADABLE, Blame.PAYER_UNNAMED
    PAYER_ZERO = "payer_zero", Grade.UNREADABLE, Blame.PAYER_UNNAMED
    JOB_MISSING = "job_missing", Grade.UNREADABLE, Blame.UNREADABLE
    JOB_BASE64 = "job_base64", Grade.UNREADABLE, Blame.UNREADABLE
    JOB_JSON = "job_json", Grade.UNREADABLE, Blame.UNREADABLE
    JOB_MEMBER = "job_member", Grade.UNREADABLE, Blame.UNREADABLE
    JOB_TIMEOUT = "job_timeout", Grade.UNREADABLE, Blame.UNREADABLE
    JOB_REQUEST = "job_request", Grade.UNREADABLE, Blame.UNREADABLE
    JOB_SENDER = "job_sender", Grade.UNREADABLE, Blame.UNREADABLE
    JOB_SIGNATURE = "job_signature", Grade.REJECT, Blame.CREDENTIALS
    CAPABILITY_MISSING = "capability_missing", Grade.UNREADABLE, Blame.UNREADABLE
    SEGMENT_MISSING = "segment_missing", Grade.UNREADABLE, Blame.CREDENTIALS
    SEGMENT_BASE64 = "segment_base64", Grade.UNREADABLE, Blame.CREDENTIALS
    SEGMENT_PROTOBUF = "segment_protobuf", Grade.UNREADABLE, Blame.CREDENTIALS
    SEGMENT_MANIFEST = "segment_manifest", Grade.UNREADABLE, Blame.CREDENTIALS
    SEGMENT_SEQUENCE = "segment_sequence", Grade.UNREADABLE, Blame.CREDENTIALS
    SEGMENT_HASH = "segment_hash", Grade.UNREADABLE, Blame.CREDENTIALS
    SEGMENT_SIGNATURE = "segment_signature", Grade.REJECT, Blame.CREDENTIALS
    AUTH_MISSING = "auth_missing", Grade.REJECT, Blame.CREDENTIALS
    AUTH_TOKEN = "auth_token", Grade.REJECT, Blame.CREDENTIALS
    AUTH_EXPIRED = "auth_expired", Grade.REJECT, Blame.STALE
    AUTH_KEY = "auth_key", Grade.REJECT, Blame.STALE
    MANIFEST_DIFFERS = "manifest_differs", Grade.REJECT, Blame.CREDENTIALS
    MANIFEST_FOREIGN = "manifest_foreign", Grade.REJECT, Blame.MANIFEST
    MANIFEST_USED = "manifest_used", Grade.REJECT, Blame.MANIFEST
    PRICE_RAISED = "price_raised", Grade.REJECT, Blame.MANIFEST
    REFRESH_BODY = "refresh_body", Grade.UNREADABLE, Blame.UNREADABLE

    # The session that is paid for.
    SESSION_UNKNOWN = "session_unknown", Grade.REJECT, Blame.NO_SESSION
    SESSION_LIVES = "session_lives", Grade.REJECT, Blame.SESSION
    SESSION_FIXED = "session_fixed", Grade.REJECT, Blame.SESSION
    SESSION_PENDING = "session_pending", Grade.REJECT, Blame.OURS

    # The payment's bytes (payments.md, 3).
    HEADER_LENGTH = "header_length", Grade.UNREADABLE, Blame.TOO_LONG
    PAYMENT_BASE64 = "payment_base64", Grade.UNREADABLE, Blame.UNREADABLE
    PAYMENT_PROTOBUF = "payment_protobuf", Grade.UNREADABLE, Blame.UNREADABLE
    SENDER_LENGTH = "sender_length", Grade.UNREADABLE, Blame.PAYMENT
    RECIPIENT_LENGTH = "recipient_length", Grade.UNREADABLE, Blame.PAYMENT
    FACE_VALUE_LENGTH = "face_value_length", Grade.UNREADABLE, Blame.PAYMENT
    WIN_PROB_LENGTH = "win_prob_length", Grade.UNREADABLE, Blame.PAYMENT
    COMMITMENT_LENGTH = "commitment_length", Grade.UNREADABLE, Blame.PAYMENT
    SEED_LENGTH = "seed_length", Grade.UNREADABLE, Blame.PAYMENT
    EXPIRATION_LENGTH = "expiration_length", Grade.UNREADABLE, Blame.PAYMENT
    ROUND_HASH_LENGTH = "round_hash_length", Grade.UNREADABLE, Blame.PAYMENT
    ROUND_NEGATIVE = "round_negative", Grade.UNREADABLE, Blame.PAYMENT
    EXPIRATION_MISSING = "expiration_missing", Grade.REJECT, Blame.PAYMENT
    EXPIRATION_DIFFERS = "expiration_differs", Grade.REJECT, Blame.PAYMENT

    # The payment as a whole (6.1).
    SENDER_MISSING = "sender_missing", Grade.REJECT, Blame.PAYMENT
    SENDER_DIFFERS = "sender_differs", Grade.REJECT, Blame.FOREIGN
    TERMS_MISSING = "terms_missing", Grade.REJECT, Blame.PAYMENT
    TICKETS_MISSING = "tickets_missing", Grade.REJECT, Blame.PAYMENT
    TICKETS_TOO_MANY = "tickets_too_many", Grade.ACCEPTABLE, Blame.PAYMENT
    RECIPIENT_INACTIVE = "recipient_inactive", Grade.REJECT, Blame.OURS
    PRICE_MISSING = "price_missing", Grade.REJECT, Blame.PAYMENT
    PRICE_DENOMINATOR = "price_denominator", Grade.REJECT, Blame.PAYMENT
    PRICE_NEGATIVE = "price_negative", Grade.REJECT, Blame.PAYMENT
    PRICE_DIFFERS = "price_differs", Grade.FATAL, Blame.PAYMENT

    # Terms and tickets (6.2).
    SENDER_UNKNOWN = "sender_unknown", Grade.FATAL, Blame.OURS
    SENDER_UNLOCKING = "sender_unlocking", Grade.FATAL, Blame.FUNDS
    SENDER_FUNDS = "sender_funds", Grade.FATAL, Blame.FUNDS
    RECIPIENT_DIFFERS = "recipient_differs", Grade.FATAL, Blame.PAYMENT
    SENDER_ZERO = "sender_zero", Grade.FATAL, Blame.PAYMENT
    COMMITMENT_KEY = "commitment_key", Grade.FATAL, Blame.STALE
    COMMITMENT_DIFFERS = "commitment_differs", Grade.FATAL, Blame.PAYMENT
    COMMITMENT_PUBLISHED = "commitment_published", Grade.FATAL, Blame.STALE
    ROUND_PASSED = "round_passed", Grade.FATAL, Blame.STALE
    FACE_VALUE_ABOVE_FLOAT = "face_value_above_float", Grade.FATAL, Blame.STALE
    SIGNATURE_LENGTH = "signature_length", Grade.ACCEPTABLE, Blame.PAYMENT
    SIGNATURE_HIGH_S = "signature_high_s", Grade.ACCEPTABLE, Blame.PAYMENT
    SIGNATURE_V = "signature_v", Grade.ACCEPTABLE, Blame.PAYMENT
    SIGNATURE_INVALID = "signature_invalid", Grade.ACCEPTABLE, Blame.PAYMENT
    SIGNER_DIFFERS = "signer_differs", Grade.ACCEPTABLE, Blame.PAYMENT
    NONCE_RANGE = "nonce_range", Grade.ACCEPTABLE, Blame.PAYMENT
    NONCE_SEEN = "nonce_seen", Grade.ACCEPTABLE, Blame.PAYMENT
    NONCES_USED_UP = "nonces_used_up", Grade.ACCEPTABLE, Blame.PAYMENT
    TERMS_EXPIRED = "terms_expired", Grade.ACCEPTABLE, Blame.STALE

    # Credit.
    CREDIT_SHORT = "credit_short", Grade.REJECT, Blame.SHORT
    CREDIT_GONE = "credit_gone", Grade.REJECT, Blame.SHORT

    # What is wrong with us, not with the payment.
    CHAIN_UNKNOWN = "chain_unknown", Grade.REJECT, Blame.OURS
    OFF_CHAIN = "off_chain", Grade.REJECT, Blame.OURS
    PRICE_UNKNOWN = "price_unknown", Grade.REJECT, Blame.OURS
    PRICE_UNSAYABLE = "price_unsayable", Grade.REJECT, Blame.OURS
    ANSWER_LATE = "answer_late", Grade.REJECT, Blame.OURS
    STORE_BUSY = "store_busy", Grade.REJECT, Blame.OURS


class PaymentRefused(OrchdError):
    """A payment, or what comes with it, is refused: nothing of it is credited, and no nonce is used up.

    Attributes:
        fault: why.
    """

    code = Code.PAYMENT_REQUIRED

    def __init__(self, fault: Fault, message: str) -> None:
        super().__init__(message)
        self.fault = fault
