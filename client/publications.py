"""What a subscriber is handed: publications, and the holes between them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from tidings.protocol.messages.builtin import builtin_registry


@dataclass(frozen=True, slots=True)
class Publication:
    """One event of one channel."""

    channel: str
    event: str
    payload: Any
    """A Struct where the event is registered and the payload fits, else a dict."""
    offset: int
    """Its number in the channel: rises by one from publication to publication of one epoch."""
    epoch: str | None
    """The channel's life that the offset counts in; None where the server has not told it."""
    timestamp: datetime | None
    """When the server accepted it."""
    user_id: str | None = None
    """The user whom the event is about, where it is about one."""
    misfit: str | None = None
    """Why the payload of a registered event was handed over as a dict."""
    raw: bytes = field(default=b"{}", repr=False)
    """The payload's JSON text as it came."""

    @property
    def fields(self) -> dict[str, Any]:
        """The payload as it was published, with the fields that its Struct does not know."""
        decoded: dict[str, Any] = msgspec.json.decode(self.raw)
        return decoded


@dataclass(frozen=True, slots=True)
class Gap:
    """Publications of a channel that were missed, at the place where they are missing."""

    channel: str
    from_offset: int
    """The first one missed."""
    to_offset: int | None
    """The last one missed. None: the channel has begun anew, and nobody knows what was missed."""
    epoch: str | None
    """The epoch that the channel is in now."""


class PayloadTypes:
    """Which Struct decodes which event's payload."""

    def __init__(self, types: Mapping[str, type[msgspec.Struct]] | None = None) -> None:
        """Begin with the built-in events; `types` are put over them."""
        self._decode: dict[str, Callable[[bytes], Any]] = {}
        for name, message in builtin_registry().events.items():
            self.register(name, message.payload)
        for name, struct in (types or {}).items():
            self.register(name, struct)

    def register(self, event: str, struct: type[msgspec.Struct]) -> None:
        """Decode the payloads of `event` as `struct` from now on."""
        self._decode[event] = msgspec.json.Decoder(struct).decode

    def decode(self, event: str, raw: bytes) -> tuple[Any, str | None]:
        """The payload, and why it is a plain object although the event is registered."""
        decode = self._decode.get(event)
        if decode is None:
            return msgspec.json.decode(raw), None
        try:
            return decode(raw), None
        except msgspec.ValidationError as error:
            return msgspec.json.decode(raw), str(error)
