"""The one table of close codes, held against RFC 6455 and the wire protocol's document."""

import pytest

from tidings.protocol.close_codes import REASONS, CloseCode, is_sendable, may_reconnect

# From the wire protocol's document: number, name, whether to reconnect.
DOCUMENTED = [
    (3001, "SHUTDOWN", True),
    (3004, "INTERNAL", True),
    (3005, "TOKEN_EXPIRED", True),
    (3008, "SLOW_CONSUMER", True),
    (3010, "INSUFFICIENT_STATE", True),
    (3012, "NO_PONG", True),
    (3013, "TOO_MANY_REQUESTS", True),
    (3500, "INVALID_TOKEN", False),
    (3501, "BAD_REQUEST", False),
    (3502, "NOT_AUTHENTICATED", False),
    (3503, "DISCONNECTED", False),
    (3504, "CONNECTION_LIMIT", False),
    (3505, "CHANNEL_LIMIT", False),
    (3506, "WRONG_PROTOCOL", False),
    (3507, "DENIED", False),
    (3508, "LOGGED_IN_ELSEWHERE", False),
    (3509, "TOO_MANY_ERRORS", False),
    (3510, "ACCOUNT_DELETED", False),
]

# RFC 6455 section 7.4.1, and what the same attempt would meet again.
OF_THE_RFC = {
    1000: False,
    1001: True,
    1002: False,
    1003: False,
    1005: True,
    1006: True,
    1007: False,
    1008: False,
    1009: False,
    1011: True,
    1012: True,
    1013: True,
}


@pytest.mark.parametrize(("number", "name", "reconnect"), DOCUMENTED)
def test_our_codes_are_the_documented_ones(number: int, name: str, reconnect: bool) -> None:
    """Each of our codes has the documented number and meaning, and tells the client what to do."""
    assert CloseCode[name] == number
    assert may_reconnect(number) is reconnect


def test_the_table_holds_nothing_else() -> None:
    """A code that the documents do not name is in no table."""
    assert {int(code) for code in CloseCode} == {number for number, _, _ in DOCUMENTED} | OF_THE_RFC.keys()


@pytest.mark.parametrize(("number", "reconnect"), OF_THE_RFC.items())
def test_after_the_rfcs_codes_one_reconnects_where_that_can_help(number: int, reconnect: bool) -> None:
    """A client comes back after what may pass, and not after what the same attempt would meet again."""
    assert may_reconnect(CloseCode(number)) is reconnect


@pytest.mark.parametrize("code", CloseCode, ids=lambda code: code.name)
def test_every_code_says_why(code: CloseCode) -> None:
    """Each code has a reason that fits a close frame, 123 bytes of UTF-8."""
    assert REASONS[code]
    assert len(REASONS[code].encode()) <= 123


def test_a_client_needs_no_table() -> None:
    """3000-3499 reconnect and 3500-3999 do not, whether or not this version knows the code."""
    assert all(may_reconnect(code) for code in range(3000, 3500))
    assert not any(may_reconnect(code) for code in range(3500, 4000))
    assert may_reconnect(4000)


def test_only_codes_that_the_rfc_allows_are_sent() -> None:
    """Of all numbers exactly those may stand in a close frame that RFC 6455 and IANA allow."""
    allowed = {*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)}
    assert {code for code in range(-1, 70_000) if is_sendable(code)} == allowed
