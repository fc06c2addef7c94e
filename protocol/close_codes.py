"""The one table of WebSocket close codes: number, name, meaning, and whether the client may reconnect.

RFC 6455's codes are used where one fits (section 7.4.1). Ours follow a rule that a client can apply
without knowing the table: 3000-3499 reconnect, 3500-3999 do not.
"""

from enum import IntEnum


class CloseCode(IntEnum):
    """Why a WebSocket ended."""

    NORMAL = 1000
    GOING_AWAY = 1001
    PROTOCOL_ERROR = 1002
    UNSUPPORTED_DATA = 1003
    NO_STATUS = 1005
    """The peer's close frame bore no code; never sent."""
    ABNORMAL = 1006
    """TCP ended without a close frame; never sent."""
    INVALID_DATA = 1007
    POLICY_VIOLATION = 1008
    TOO_BIG = 1009
    INTERNAL_ERROR = 1011
    SERVICE_RESTART = 1012
    TRY_AGAIN_LATER = 1013

    SHUTDOWN = 3001
    INTERNAL = 3004
    TOKEN_EXPIRED = 3005
    SLOW_CONSUMER = 3008
    INSUFFICIENT_STATE = 3010
    NO_PONG = 3012
    TOO_MANY_REQUESTS = 3013

    INVALID_TOKEN = 3500
    BAD_REQUEST = 3501
    NOT_AUTHENTICATED = 3502
    DISCONNECTED = 3503
    CONNECTION_LIMIT = 3504
    CHANNEL_LIMIT = 3505
    WRONG_PROTOCOL = 3506
    DENIED = 3507
    LOGGED_IN_ELSEWHERE = 3508
    TOO_MANY_ERRORS = 3509
    ACCOUNT_DELETED = 3510


#: What the close frame's reason says; at most 123 bytes each (RFC 6455 section 5.5).
REASONS: dict[CloseCode, str] = {
    CloseCode.NORMAL: "done",
    CloseCode.GOING_AWAY: "going away",
    CloseCode.PROTOCOL_ERROR: "protocol error",
    CloseCode.UNSUPPORTED_DATA: "unsupported data",
    CloseCode.NO_STATUS: "no status",
    CloseCode.ABNORMAL: "connection lost",
    CloseCode.INVALID_DATA: "invalid UTF-8",
    CloseCode.POLICY_VIOLATION: "policy violation",
    CloseCode.TOO_BIG: "message too big",
    CloseCode.INTERNAL_ERROR: "internal error",
    CloseCode.SERVICE_RESTART: "service restart",
    CloseCode.TRY_AGAIN_LATER: "try again later",
    CloseCode.SHUTDOWN: "server shutting down",
    CloseCode.INTERNAL: "internal error",
    CloseCode.TOKEN_EXPIRED: "token expired",
    CloseCode.SLOW_CONSUMER: "slow consumer",
    CloseCode.INSUFFICIENT_STATE: "insufficient state",
    CloseCode.NO_PONG: "no pong in time",
    CloseCode.TOO_MANY_REQUESTS: "too many requests",
    CloseCode.INVALID_TOKEN: "invalid token",
    CloseCode.BAD_REQUEST: "bad request",
    CloseCode.NOT_AUTHENTICATED: "no authentication in time",
    CloseCode.DISCONNECTED: "disconnected by an administrator",
    CloseCode.CONNECTION_LIMIT: "too many connections of this user",
    CloseCode.CHANNEL_LIMIT: "too many channels",
    CloseCode.WRONG_PROTOCOL: "wrong protocol",
    CloseCode.DENIED: "denied",
    CloseCode.LOGGED_IN_ELSEWHERE: "logged in elsewhere",
    CloseCode.TOO_MANY_ERRORS: "too many errors",
    CloseCode.ACCOUNT_DELETED: "account deleted",
}

# RFC 6455 section 7.4.1 reserves these for local use: they must not stand in a close frame.
_NEVER_SENT = frozenset({CloseCode.NO_STATUS, CloseCode.ABNORMAL})

# Of RFC 6455's codes, those after which the same attempt would fail the same way again.
_TERMINAL_RFC = frozenset({
    CloseCode.NORMAL,
    CloseCode.PROTOCOL_ERROR,
    CloseCode.UNSUPPORTED_DATA,
    CloseCode.INVALID_DATA,
    CloseCode.POLICY_VIOLATION,
    CloseCode.TOO_BIG,
})  # fmt: skip


def may_reconnect(code: int) -> bool:
    """Whether a client that was closed with `code` should try again.

    Works for codes that are not in the table, as later servers may send: 3500-3999 is terminal,
    everything else that RFC 6455 does not call final is worth another try.
    """
    if 3500 <= code <= 3999:
        return False
    return code not in _TERMINAL_RFC


def is_sendable(code: int) -> bool:
    """Whether `code` may stand in a close frame (RFC 6455 section 7.4)."""
    return (1000 <= code <= 1014 and code not in _NEVER_SENT and code != 1004) or 3000 <= code <= 4999
