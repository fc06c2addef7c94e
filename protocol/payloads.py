"""The one form a payload has inside the server: a JSON object that every encoding can carry."""

from typing import Any

import msgspec

from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages.fields import explain
from tidings.protocol.messages.registry import MessageType

# Encoders recurse, and how deep they may depends on how much of the stack is in use where they are
# called: a payload near that edge would be accepted here and fail in the fan-out. With the envelope
# around it this stays within 64, where some clients' parsers stop.
NESTING = 60

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
        if _may_be_deep(encoded) and _depth(payload) > NESTING:
            return Refusal(ErrorCode.INVALID_DATA, f"payload may be nested {NESTING} deep")
        arriving = _decode(encoded)
        packed = _encode_msgpack(arriving)
        if most is not None and len(packed) > most:
            return _too_large(most)
        if event is not None:
            # Keys are strings in JSON, whatever they are in the Struct.
            msgspec.convert(arriving, event.payload, str_keys=True)
    except msgspec.ValidationError as error:
        return Refusal(ErrorCode.INVALID_DATA, explain(error, under))
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
        return Refusal(
            ErrorCode.INVALID_DATA, f"payload cannot be carried as JSON and MessagePack: {error}"
        )
    return encoded


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
