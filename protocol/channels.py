"""The grammar of channel names.

A channel is `all`, or a kind and a name joined by the first colon: `user:<id>`, `group:<id>`,
`role:<name>`, `room:<name>`. Only the first colon separates, so `room:a:b` is the room `a:b` and can
be mistaken for nothing else. Names are ASCII: no control character, no homoglyph, no wildcard gets in.
"""

import re
from functools import lru_cache

ALL = "all"

#: Patterns to match in full.
NAME = r"[A-Za-z0-9_.:-]{1,128}"
# User ids are often e-mail addresses.
USER_ID = r"[A-Za-z0-9_.:@+-]{1,128}"
CHANNEL = rf"all|user:{USER_ID}|(?:group|role|room):{NAME}"

_is_name = re.compile(NAME).fullmatch
_is_user_id = re.compile(USER_ID).fullmatch
_is_channel = re.compile(CHANNEL).fullmatch


@lru_cache(maxsize=4096)  # the same few are spoken of again and again
def is_channel(name: str) -> bool:
    """Whether `name` is a channel name."""
    return _is_channel(name) is not None


def is_name(name: str) -> bool:
    """Whether `name` may name a room, a group or a role."""
    return _is_name(name) is not None


def is_user_id(user_id: str) -> bool:
    """Whether `user_id` may stand in `user:<id>`."""
    return _is_user_id(user_id) is not None


def kind_of(channel: str) -> str:
    """The kind of a channel that `is_channel`."""
    return channel.partition(":")[0]


def user_channel(user_id: str) -> str:
    """The channel of one user's connections."""
    return f"user:{user_id}"


def group_channel(group_id: str) -> str:
    """The channel of one group's members."""
    return f"group:{group_id}"


def role_channel(role: str) -> str:
    """The channel of everybody who has a role."""
    return f"role:{role}"


def room_channel(room: str) -> str:
    """The channel of a room."""
    return f"room:{room}"
