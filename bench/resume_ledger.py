"""The two sides of a drill's ledger: what a server has acknowledged, and what every client was handed."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec


class Payload(msgspec.Struct):
    """What the drill publishes, as far as the ledger reads it."""

    id: str
    text: str = ""


_decode = msgspec.json.Decoder(Payload).decode


def read(raw: bytes) -> Payload:
    """What a payload says; one with an empty id for what is none of the drill's."""
    try:
        return _decode(raw)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Payload("")


def id_of(raw: bytes) -> str:
    """Which publication a payload is of; empty for one that is none of the drill's."""
    return read(raw).id


class Accepted(NamedTuple):
    """A publication that the server has acknowledged."""

    channel: str
    epoch: str | None
    offset: int
    durability: str | None
    """What the acknowledgement promised."""
    id: str
    begun: float
    """`time.monotonic()` at which it was first tried: nobody can have had it before."""


class Handed(NamedTuple):
    """A publication, as an application was handed it."""

    epoch: str | None
    offset: int
    raw: bytes
    """The payload's JSON text."""


class Announced(NamedTuple):
    """A gap that an application was told of."""

    first: int
    last: int | None
    """None: a new epoch has begun, and nobody knows what was missed."""
    epoch: str | None
    """The one that the channel is in now."""
    at: float
    """`time.monotonic()` at which it was told."""


Item = Handed | Announced


@dataclass
class Stream:
    """What one client was handed of one channel, in that order; it subscribed before the first publication."""

    client: str
    channel: str
    items: list[Item] = field(default_factory=list)

    @property
    def handed(self) -> Iterable[Handed]:
        """The publications."""
        return (item for item in self.items if isinstance(item, Handed))

    @property
    def gaps(self) -> list[Announced]:
        """The gaps."""
        return [item for item in self.items if isinstance(item, Announced)]

    @property
    def stands(self) -> tuple[str | None, int] | None:
        """Epoch and offset of the last publication handed over; None before the first."""
        return next(
            ((item.epoch, item.offset) for item in reversed(self.items) if isinstance(item, Handed)), None
        )


@dataclass
class Sheet:
    """The whole ledger."""

    tried: set[str] = field(default_factory=set)
    """The ids of everything that was ever sent to the server, acknowledged or not."""
    text: str = ""
    """The text of each of them."""
    accepted: list[Accepted] = field(default_factory=list)
    streams: list[Stream] = field(default_factory=list)
    kept: dict[str, list[Handed]] = field(default_factory=dict)
    """What the server says that durable channels keep, at the end."""
    durable: set[str] = field(default_factory=set)
    """The channels of which nothing may be lost."""
    faults: list[str] = field(default_factory=list)
    """What clients and publishers have met that none of them may meet."""
