"""What a client says becomes a command, or a refusal."""

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tidings.bench.micro.plugin import Measure
from tidings.bench.micro.results import Sizes
from tidings.protocol.dialects.base import Command
from tidings.protocol.dialects.native import NativeDialect
from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages.builtin import builtin_registry

GROUP = "decode"

_REGISTRY = builtin_registry()


def _written(command: dict[str, Any], encoding: str) -> str | bytes:
    return (
        msgspec.msgpack.encode(command) if encoding == "msgpack" else msgspec.json.encode(command).decode()
    )


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def case_ping(measure: Measure, encoding: str) -> None:
    """The shortest command."""
    dialect = NativeDialect(_REGISTRY, binary=encoding == "msgpack")
    measure(
        f"`ping`, {encoding}",
        dialect.decode,
        _written({"type": "ping", "id": "c1"}, encoding),
        verify=lambda found: isinstance(found, Command) and (found.type, found.id) == ("ping", "c1"),
    )


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
@pytest.mark.parametrize("length", [0, 4096])
def case_room_message(
    measure: Measure, text: Callable[[int], str], sizes: Sizes, length: int, encoding: str
) -> None:
    """What is said in a room, with a field that the server does not know."""
    dialect = NativeDialect(_REGISTRY, binary=encoding == "msgpack")
    words = text(length or sizes.payload)
    command = {"type": "room_message", "data": {"room": "micro", "text": words, "sent": 1.5}, "id": "c1"}

    def verify(found: Command | Refusal) -> bool:
        return (
            isinstance(found, Command)
            and msgspec.to_builtins(found.data) == {"room": "micro", "text": words}
            and found.extra == {"sent": 1.5}
        )

    measure(
        f"`room_message` of {len(words):,} B, {encoding}",
        dialect.decode,
        _written(command, encoding),
        verify=verify,
    )


def case_refusal(measure: Measure) -> None:
    """A command that there is not: what a client's mistake costs the server."""
    measure(
        "unknown command, refused with a proposal",
        NativeDialect(_REGISTRY).decode,
        '{"type":"subscrbe","data":{"channel":"all"},"id":"c1"}',
        verify=lambda found: (
            isinstance(found, Refusal)
            and found.code is ErrorCode.UNKNOWN_TYPE
            and "'subscribe'" in found.message
        ),
    )
