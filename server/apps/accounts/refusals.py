"""What the routes of accounts refuse, in words."""

import math

import structlog

from tidings.protocol.errors import ErrorCode
from tidings.server.answers import Refused
from tidings.server.apps.accounts.attempts import Wait
from tidings.server.store.errors import StoreUnavailable

_log = structlog.get_logger("tidings.accounts")


def wrong_field(field: str, message: str) -> Refused:
    """What is wrong with one field of a request."""
    return Refused(ErrorCode.INVALID_DATA, f"{message} - at `$.{field}`")


def busy() -> Refused:
    """Too many passwords wait to be hashed."""
    return Refused(ErrorCode.UNAVAILABLE, "too many passwords wait to be checked: try again soon")


def unavailable(error: StoreUnavailable) -> Refused:
    """The database has failed. Why is for the log: it names hosts and users."""
    _log.warning("the database does not answer", error=str(error))
    return Refused(ErrorCode.UNAVAILABLE, "the database does not answer: try again soon")


def ended() -> Refused:
    """The login is over, by whatever ended it."""
    return Refused(ErrorCode.UNAUTHORIZED, "this login has ended: log in again")


def too_often(seconds: float) -> Refused:
    """A user has changed the account too often."""
    wait = math.ceil(seconds)
    return Refused(
        ErrorCode.RATE_LIMITED,
        f"too many changes of your account: try again in {wait} s",
        headers={"Retry-After": str(wait)},
    )


def too_many(wait: Wait) -> Refused:
    """No attempt to log in is left."""
    whose = "this account" if wait.what == "account" else "your address"
    seconds = math.ceil(wait.seconds)
    return Refused(
        ErrorCode.RATE_LIMITED,
        f"too many failed logins for {whose}: try again in {seconds} s",
        headers={"Retry-After": str(seconds)},
    )
