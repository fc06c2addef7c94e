"""Readers of commands that several servers of a process share."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import msgspec

from tidings.protocol.dialects.reading import CommandReader, Shape
from tidings.protocol.messages.registry import MessageType


def command_reader(
    commands: Mapping[str, MessageType],
    *,
    shapes: Mapping[type[msgspec.Struct], Shape] = {},
    **options: Any,
) -> CommandReader:
    """The reader of these commands, perhaps another server's too: it never changes. Arguments as `CommandReader`'s.

    Building one takes 2 ms, six are nearly all that making a server takes, and tests make servers by the thousand.
    """
    return _shared(tuple(commands.items()), tuple(shapes.items()), **options)


# Of a few servers with different apps, six readers each.
@lru_cache(maxsize=64)
def _shared(
    commands: tuple[tuple[str, MessageType], ...],
    shapes: tuple[tuple[type[msgspec.Struct], Shape], ...],
    **options: Any,
) -> CommandReader:
    return CommandReader(dict(commands), shapes=dict(shapes), **options)
