"""What is refused about notifications, in words, and as what: programs get `PublishRefused`, requests an answer."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from tidings.protocol.channels import is_user_id
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.server.extension import PublishRefused, Push, Refused
from tidings.server.extension.tables import StoreUnavailable

_log = structlog.get_logger("tidings.notifications")


def unavailable(error: StoreUnavailable) -> Refusal:
    """The database has failed. Why is for the log: it names hosts and users."""
    _log.warning("the database does not answer", error=str(error))
    return Refusal(ErrorCode.UNAVAILABLE, "the database does not answer: try again soon")


@contextmanager
def answering() -> Iterator[None]:
    """What a route asks for: what goes wrong in the block becomes the answer."""
    try:
        yield
    except PublishRefused as refused:
        raise Refused(refused.refusal.code, refused.refusal.message) from refused
    except StoreUnavailable as error:
        refusal = unavailable(error)
        raise Refused(refusal.code, refusal.message) from error


def unknown_note() -> Refused:
    """The caller has no such notification; whether somebody else has is not told."""
    return Refused(ErrorCode.NOT_FOUND, "no notification of yours has this id")


async def check_recipient(push: Push, user_id: str) -> None:
    """Look whether somebody may be sent something. Raises PublishRefused.

    Where users are kept (accounts), they are asked: what is sent to an id that was misspelt would wait for nobody.
    Elsewhere users are whoever a token names, also those who have never come: they get it on their first visit.
    """
    if not is_user_id(user_id):
        message = "user_id: expected 1 to 128 characters A-Z a-z 0-9 _ . : @ + -"
        raise PublishRefused(Refusal(ErrorCode.INVALID_DATA, message))
    if push.users is None:
        return
    try:
        known = await push.users.has_user(user_id)
    except StoreUnavailable as error:
        raise PublishRefused(unavailable(error)) from error
    if not known:
        raise PublishRefused(Refusal(ErrorCode.NOT_FOUND, f"no user has the id {user_id}"))
