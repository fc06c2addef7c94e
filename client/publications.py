"""What a subscriber is handed: publications, and the holes between them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec

from tidings.protocol.messages.answers import Joined, Left
from tidings.protocol.messages.builtin import builtin_registry
from tidings.protocol.positions import Position


@dataclass(frozen=True, slots=True)
class Publication:
    """One event of one channel.

    Also who came and went, where a channel tells: the events `joined` and `left`, announcements whose payload
    is a `tidings.protocol.messages.answers.Joined` or `Left`.
    """

    channel: str
    event: str
    payload: Any
    """A Struct where the event is registered and the payload fits, else a dict."""
    offset: int
    """Its number in the channel: rises by one from publication to publication of one epoch. 0 for an
    announcement, which has no place in the channel, is not kept, and cannot be missed."""
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
    def position(self) -> Position | None:
        """Where to go on from once this one is dealt with; None where the server has not told the epoch."""
        return None if self.epoch is None or self.offset == 0 else Position(self.epoch, self.offset)

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
    last_epoch: str | None = field(default=None, repr=False, compare=False)
    """The epoch that `from_offset` counts in."""


@dataclass(frozen=True, slots=True)
class Recovered:
    """Publications that were missed while the connection was away, and are handed over after all."""

    channel: str
    from_offset: int
    to_offset: int
    """At most so many: what was not meant for this login is passed over."""


class PayloadTypes:
    """Which Struct decodes which event's payload."""

    def __init__(self, types: Mapping[str, type[msgspec.Struct]] | None = None) -> None:
        """Begin with the built-in events; `types` are put over them."""
        self._decode: dict[str, Callable[[bytes], Any]] = {}
        for name, message in builtin_registry().events.items():
            self.register(name, message.payload)
        # Nobody can publish these: the server says them, on the channel that they are about.
        self.register("joined", Joined)
        self.register("left", Left)
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
