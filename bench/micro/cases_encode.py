"""A publication is encoded once for all subscribers of a dialect; an answer for one."""

from collections.abc import Callable

import msgspec
import pytest

from tidings.bench.micro.members import EPOCH, ROOM
from tidings.bench.micro.plugin import Measure
from tidings.bench.micro.results import Sizes
from tidings.protocol.dialects.native import NativeDialect
from tidings.protocol.messages.answers import Published
from tidings.protocol.messages.builtin import builtin_registry
from tidings.protocol.payloads import check_payload
from tidings.protocol.publications import Publication

GROUP = "encode"

_REGISTRY = builtin_registry()


def said(text: str) -> dict[str, str]:
    """The payload of what somebody says in a room."""
    return {"id": "0123456789abcdef", "room": "micro", "user_id": "u-1", "username": "Ann", "text": text}


def publication(text: str) -> Publication:
    """The same, with its place in the room's channel."""
    return Publication(ROOM, "room_message", msgspec.json.encode(said(text)), 7, EPOCH, 1_800_000_000_123)


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def case_publication(measure: Measure, text: Callable[[int], str], sizes: Sizes, encoding: str) -> None:
    """A publication, as its channel's subscribers get it."""
    dialect = NativeDialect(_REGISTRY, binary=encoding == "msgpack")
    codec = msgspec.msgpack if dialect.binary else msgspec.json
    words = text(sizes.payload)

    def verify(message: bytes | None) -> bool:
        found = codec.decode(message or b"")
        return (found["data"], found["channel"], found["offset"]) == (said(words), ROOM, 7)

    measure(
        f"publication of {sizes.payload:,} B, {encoding}",
        dialect.encode_publication,
        publication(words),
        verify=verify,
    )


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def case_answer(measure: Measure, encoding: str) -> None:
    """The answer to a publication."""
    dialect = NativeDialect(_REGISTRY, binary=encoding == "msgpack")
    codec = msgspec.msgpack if dialect.binary else msgspec.json
    measure(
        f"answer `published`, {encoding}",
        dialect.encode_answer,
        "published",
        Published(ROOM, 7),
        1_800_000_000_123,
        "c1",
        verify=lambda message: (
            codec.decode(message or b"")
            == {
                "type": "published",
                "data": {"channel": ROOM, "offset": 7},
                "timestamp": "2027-01-15T08:00:00.123Z",
                "id": "c1",
            }
        ),
    )


def case_payload(measure: Measure, text: Callable[[int], str], sizes: Sizes) -> None:
    """What comes before: that the payload fits its event and every encoding."""
    payload = said(text(sizes.payload))
    measure(
        f"payload of {sizes.payload:,} B checked, once for each publication",
        check_payload,
        payload,
        _REGISTRY.events["room_message"],
        verify=lambda checked: isinstance(checked, bytes) and msgspec.json.decode(checked) == payload,
    )
