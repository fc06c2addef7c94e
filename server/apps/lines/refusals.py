"""What requests about the line board are refused with."""

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from tidings.protocol.errors import ErrorCode
from tidings.server.extension import Refused
from tidings.server.extension.tables import StoreUnavailable

_log = structlog.get_logger("tidings.lines")


@contextmanager
def answering() -> Iterator[None]:
    """What a route asks for: a database that fails in the block becomes the answer."""
    try:
        yield
    except StoreUnavailable as error:
        # Why is for the log: it names hosts and users.
        _log.warning("the database does not answer", error=str(error))
        raise Refused(ErrorCode.UNAVAILABLE, "the database does not answer: try again soon") from error


def unknown_group(group_id: int) -> Refused:
    """There is no such group."""
    return Refused(ErrorCode.NOT_FOUND, f"no group has the id {group_id}")


def unknown_code(group_id: int, code_id: int) -> Refused:
    """The group has no such code."""
    return Refused(ErrorCode.NOT_FOUND, f"no code of group {group_id} has the id {code_id}")


def not_yours() -> Refused:
    """Neither an administrator nor one of the group's."""
    return Refused(
        ErrorCode.FORBIDDEN, "this is for the group's own users (the token's group_id) and administrators"
    )
