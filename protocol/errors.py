"""Why a command was refused. Refusals are expected, so they are values and not exceptions."""

from enum import StrEnum

import msgspec


class ErrorCode(StrEnum):
    """The `code` of an `error` answer."""

    BAD_REQUEST = "bad_request"
    """Not a message at all: not the encoding, not an object, no type."""
    UNKNOWN_TYPE = "unknown_type"
    INVALID_DATA = "invalid_data"
    """A message of a known type whose data is not what the type asks for; the message names the field."""
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    CONFLICT = "conflict"
    """An idempotency key was used before, for something else."""
    TOO_LARGE = "too_large"
    RATE_LIMITED = "rate_limited"
    LIMIT_REACHED = "limit_reached"
    TOKEN_EXPIRED = "token_expired"  # noqa: S105  a code, not a secret
    UNRECOVERABLE = "unrecoverable"
    UNAVAILABLE = "unavailable"
    INTERNAL = "internal"


class Refusal(msgspec.Struct, frozen=True):
    """A typed "no" to one command."""

    code: ErrorCode
    message: str
    id: str | None = None
    """The command's id, where it could be read."""
    retry_after: float | None = None
    """Seconds after which it is worth another try; None where that is not known, or is the connection's to say."""
