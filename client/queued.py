"""A message that waits until it can be sent."""

from typing import Any, Literal

import msgspec

from tidings.client.publishing import new_key
from tidings.protocol.channels import room_channel


class Queued(msgspec.Struct, frozen=True, kw_only=True):
    """What `Client.publish_soon` and `Client.say_soon` take in."""

    kind: Literal["publish", "room_message"]
    channel: str
    event: str
    fields: dict[str, Any]
    """What is published, as JSON has it: a copy, whatever becomes of what was given."""
    idempotency_key: str | None
    """The same key again publishes nothing again; None for what is said in a room, which has none."""

    def __repr__(self) -> str:
        return f"Queued({self.kind!r}, {self.channel!r}, {self.event!r})"

    @property
    def data(self) -> dict[str, Any]:
        """The data of its command."""
        if self.kind == "room_message":
            return self.fields
        return {
            "channel": self.channel,
            "event": self.event,
            "payload": self.fields,
            "idempotency_key": self.idempotency_key,
        }


def to_publish_soon(channel: str, event: str, payload: Any, idempotency_key: str | None) -> Queued:
    """A publication. Raises what msgspec raises for what is not JSON's."""
    return Queued(
        kind="publish",
        channel=channel,
        event=event,
        fields=_copied({} if payload is None else payload),
        idempotency_key=idempotency_key or new_key(),
    )


def to_say_soon(room: str, text: str, fields: dict[str, Any]) -> Queued:
    """Something to say in a room. Raises what msgspec raises for what is not JSON's."""
    return Queued(
        kind="room_message",
        channel=room_channel(room),
        event="room_message",
        fields=_copied({**fields, "room": room, "text": text}),
        idempotency_key=None,
    )


def _copied(value: Any) -> dict[str, Any]:
    return msgspec.json.decode(msgspec.json.encode(value), type=dict[str, Any])
