"""The one form a payload has inside the server: a JSON object that every encoding can carry."""

from typing import Any

import msgspec

from tidings.protocol.errors import ErrorCode, Refusal
from tidings.protocol.messages.fields import explain
from tidings.protocol.messages.registry import MessageType

_encode = msgspec.json.Encoder().encode
_encode_msgpack = msgspec.msgpack.Encoder().encode


def check_payload(payload: dict[str, Any], event: MessageType | None) -> bytes | Refusal:
    """The payload as JSON text, or why it cannot be published.

    A registered event's payload must fit its Struct; further fields stay. Every payload must survive
    every encoding that a subscriber may have chosen: an integer of 65 bits is JSON, but not
    MessagePack, and must be refused here rather than met half-way through a fan-out.
    """
    try:
        if event is not None:
            msgspec.convert(payload, event.payload)
        encoded = _encode(payload)
        # What reaches MessagePack subscribers is the JSON text decoded again, so encode that.
        _encode_msgpack(msgspec.json.decode(encoded))
    except msgspec.ValidationError as error:
        return Refusal(ErrorCode.INVALID_DATA, explain(error, ".data.payload"))
    except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
        return Refusal(
            ErrorCode.INVALID_DATA, f"payload cannot be carried as JSON and MessagePack: {error}"
        )
    return encoded
