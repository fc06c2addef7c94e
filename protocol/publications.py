"""An event published to a channel, as every node and dialect sees it."""

import time
from functools import lru_cache

import msgspec


class Publication(msgspec.Struct, frozen=True):
    """One event of one channel, with its position."""

    channel: str
    event: str
    """The type a client sees, as `room_message`."""
    payload: bytes
    """A JSON object as UTF-8 text, well-formed and within what every encoding can carry."""
    offset: int
    """Its place in the channel; 0 for an announcement, which has none and is never kept."""
    epoch: str
    time_ms: int
    """Unix milliseconds at which the broker accepted it: the same bytes for every subscriber."""
    user_id: str | None = None
    """The user an event is about, where the event has one."""
    excluded_session: str | None = None
    """The login that it is not for: its connections are told the position, and nothing else of it."""


# What is published in one go is mostly of one millisecond.
@lru_cache(maxsize=4)
def iso_milliseconds(time_ms: int) -> str:
    """The time as ISO 8601 in UTC with milliseconds: `2026-11-21T20:10:00.123Z`."""
    seconds, ms = divmod(time_ms, 1000)
    return f"{_until_seconds(seconds)}.{ms:03d}Z"


def iso_seconds(time_ms: int) -> str:
    """The time as ISO 8601 in UTC with whole seconds, those that have begun: `2026-11-21T20:10:00Z`."""
    return f"{_until_seconds(time_ms // 1000)}Z"


# One entry serves every message of the same second.
@lru_cache(maxsize=4)
def _until_seconds(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
