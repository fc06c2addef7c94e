"""Why a connection ended, and what follows from it. Pure."""

import ssl
from dataclasses import dataclass, replace
from typing import Final

import msgspec

from tidings.client.backoff import retry_after_seconds
from tidings.protocol.close_codes import REASONS, CloseCode, may_reconnect
from tidings.protocol.messages.answers import Disconnect

# RFC 6455 section 7.4.1: never on the wire, the code for a TLS handshake that failed.
TLS_FAILED: Final = 1015

#: How the reason begins where TLS failed: the certificate, and everything else.
CERTIFICATE: Final = "certificate: "
TLS: Final = "TLS: "

# RFC 6585 section 4, RFC 9110 section 15.6: what passes by itself. Every other refusal stays one.
_PASSING_STATUSES: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Ending:
    """How one connection, or the attempt at one, ended."""

    code: int
    """A WebSocket close code, or the HTTP status of a refused handshake."""
    reason: str
    returns: bool
    """Whether another attempt may succeed."""
    delay: float = 0.0
    """Seconds that the server asked to wait before it."""
    token: bool = False
    """Whether it was about the token, so that a new one may succeed."""


def lost(why: str) -> Ending:
    """The connection broke, or could not be made: worth another try."""
    return Ending(CloseCode.ABNORMAL, why, returns=True)


def closed(code: int | None, reason: str | None, parting: Disconnect | None) -> Ending:
    """The WebSocket was closed; `parting` is what the server said before, if anything."""
    if code is None or code == CloseCode.ABNORMAL:
        ending = lost("connection lost")
    else:
        known = {int(code): words for code, words in REASONS.items()}
        ending = Ending(
            code,
            reason or known.get(code, "closed"),
            may_reconnect(code),
            token=code == CloseCode.TOKEN_EXPIRED,
        )
    if parting is None:
        return ending
    return replace(
        ending,
        code=parting.code,
        reason=parting.reason,
        returns=parting.reconnect and may_reconnect(parting.code),
        delay=max(parting.delay, 0.0),
        token=parting.code == CloseCode.TOKEN_EXPIRED,
    )


def rejected(
    status: int, headers: tuple[tuple[bytes, bytes], ...], body: bytes | None, now: float
) -> Ending:
    """The handshake was answered with something else than 101. `now` is in Unix seconds."""
    fields = {name.lower(): value.decode("latin-1") for name, value in headers}
    reason = _message(body) or (
        f"redirected to {fields[b'location']}" if b"location" in fields else "handshake refused"
    )
    return Ending(
        status,
        reason,
        # RFC 9110 section 15.2: a 1xx is no answer yet. What would have come was not waited for.
        returns=status < 200 or status in _PASSING_STATUSES,
        delay=retry_after_seconds(fields.get(b"retry-after"), now) or 0.0,
        token=status == 401,
    )


def not_connected(error: Exception) -> Ending:
    """TCP or TLS could not be set up."""
    cause = error if isinstance(error, ssl.SSLError) else error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        return Ending(TLS_FAILED, tls_told(cause), returns=False)
    if isinstance(cause, ssl.SSLError):
        return lost(tls_told(cause))
    return lost(told(error))


def tls_told(error: ssl.SSLError) -> str:
    """What TLS does not like, in words that begin with `CERTIFICATE` or `TLS`."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return CERTIFICATE + error.verify_message
    return TLS + (error.strerror or str(error))


def told(error: BaseException) -> str:
    """An error in words, and nothing but the words: of a group, the first one's."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error.__cause__, OSError | BaseExceptionGroup) and isinstance(error, OSError):
        return told(error.__cause__)
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


class _Error(msgspec.Struct):
    message: str


class _Body(msgspec.Struct):
    error: _Error


_decode_body = msgspec.json.Decoder(_Body).decode


def _message(body: bytes | None) -> str | None:
    try:
        return _decode_body(body or b"").error.message
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
