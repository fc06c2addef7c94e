"""What is refused about notifications, in words, and as what: programs get `PublishRefused`, requests an answer."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog

from tidings.protocol.channels import is_name, is_user_id
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages.fields import IDEMPOTENCY_KEY_EXPECTED, is_idempotency_key
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


# Programs give these, and not all of them are looked at by a type checker: whatever it is, it is no TypeError from
# somewhere inside. All raise PublishRefused, naming what is wrong.


def check_user_id(user_id: object) -> None:
    """Whether it can be a user's id."""
    _check("user_id", user_id, is_user_id, "1 to 128 characters A-Z a-z 0-9 _ . : @ + -")


def check_room(room: object) -> None:
    """Whether it can be a room's name."""
    _check("room", room, is_name, "1 to 128 characters A-Z a-z 0-9 _ . : -")


def check_event(event: object) -> None:
    """Whether it is text; which text is for the registry to say."""
    _check("event", event, lambda _: True, "a name")


def check_key(idempotency_key: object) -> None:
    """Whether it can be an idempotency key."""
    _check("idempotency_key", idempotency_key, is_idempotency_key, IDEMPOTENCY_KEY_EXPECTED)


def _check(name: str, given: object, is_good: Callable[[str], bool], expected: str) -> None:
    if not (isinstance(given, str) and is_good(given)):
        raise PublishRefused(Refusal(ErrorCode.INVALID_DATA, f"{name}: expected {expected}"))


async def check_recipient(push: Push, user_id: str) -> None:
    """Look whether somebody may be sent something. Raises PublishRefused.

    Where users are kept (accounts), they are asked: what is sent to an id that was misspelt would wait for nobody.
    Elsewhere users are whoever a token names, also those who have never come: they get it on their first visit.
    """
    check_user_id(user_id)
    if push.users is None:
        return
    try:
        known = await push.users.has_user(user_id)
    except StoreUnavailable as error:
        raise PublishRefused(unavailable(error)) from error
    if not known:
        raise PublishRefused(Refusal(ErrorCode.NOT_FOUND, f"no user has the id {user_id}"))
