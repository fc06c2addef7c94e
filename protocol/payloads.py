"""The one form a payload has inside the server: a JSON object that every encoding can carry."""

import functools
from collections.abc import Callable
from typing import Any

import msgspec

from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages.fields import explain
from tidings.protocol.messages.registry import MessageType

# Encoders recurse, and how deep they may depends on how much of the stack is in use where they are
# called: a payload near that edge would be accepted here and fail in the fan-out. With the envelope
# around it this stays within 64, where some clients' parsers stop.
NESTING = 60

# How many bytes of MessagePack one byte of JSON may become: `1e1` nine, with its share of what is around it.
_PACKED = 4

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder().decode
_encode_msgpack = msgspec.msgpack.Encoder().encode


def check_payload(
    payload: dict[str, Any],
    event: MessageType | None,
    *,
    most: int | None = None,
    under: str = ".data.payload",
) -> bytes | Refusal:
    """The payload as JSON text, or why it cannot be published.

    `most` bounds its bytes in any encoding: five characters of a number may become nineteen. `under` is
    its path in what the publisher sent, for the refusal.

    A registered event's payload must fit its Struct; further fields stay. What is checked is what will
    arrive: the JSON text decoded again. Every payload must survive every encoding that a subscriber may
    have chosen: an integer of 65 bits is JSON, but not MessagePack, and must be refused here rather than
    met half-way through a fan-out.
    """
    try:
        encoded = _encode(payload)
        if most is not None and len(encoded) > most:
            return _too_large(most)
        if not (_is_flat(payload) and (most is None or len(encoded) <= most // _PACKED)):
            if _may_be_deep(encoded) and _depth(payload) > NESTING:
                return Refusal(ErrorCode.INVALID_DATA, f"payload may be nested {NESTING} deep")
            packed = _encode_msgpack(_decode(encoded))
            if most is not None and len(packed) > most:
                return _too_large(most)
        if event is not None:
            _decoder(event.payload)(encoded)
    except msgspec.ValidationError as error:
        return Refusal(ErrorCode.INVALID_DATA, explain(error, under))
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
        return Refusal(
            ErrorCode.INVALID_DATA, f"payload cannot be carried as JSON and MessagePack: {error}"
        )
    return encoded


def _is_flat(payload: dict[str, Any]) -> bool:
    """Whether it is seen at a glance that what JSON carries of it MessagePack carries too."""
    for value in payload.values():
        kind = type(value)
        if kind is not str and kind is not float and kind is not bool and value is not None:
            return False
    return True


@functools.cache  # of the events that are registered
def _decoder(payload: type[msgspec.Struct]) -> Callable[[bytes], object]:
    return msgspec.json.Decoder(payload).decode


def _too_large(most: int) -> Refusal:
    return Refusal(ErrorCode.TOO_LARGE, f"payload may have {most} bytes, encoded as JSON or MessagePack")


def _may_be_deep(encoded: bytes) -> bool:
    # Counting brackets costs nothing beside walking; only what has many of them is walked.
    return encoded.count(b"[") + encoded.count(b"{") > NESTING


def _depth(value: Any) -> int:
    """How deep arrays and maps are nested. Level by level: recursion is what this protects from."""
    depth = 0
    level = [value]
    while level:
        containers = [item for item in level if isinstance(item, dict | list | tuple | set | frozenset)]
        level = [
            inner
            for container in containers
            for inner in (container.values() if isinstance(container, dict) else container)
        ]
        depth += bool(containers)
    return depth
