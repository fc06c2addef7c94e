"""What the hub says about itself."""

import msgspec


class Statistics(msgspec.Struct, frozen=True):
    """What the hub holds now, and what it has done since it was made."""

    connections: int
    users: int
    channels: int
    subscriptions: int
    publications: int
    deliveries: int
    encodings: int
    outbox_bytes: int
    bytes_sent: int
    """Handed to the kernel for registered connections."""
    closes: dict[int, int]


class ChannelState(msgspec.Struct, frozen=True):
    """One channel that somebody is subscribed to."""

    channel: str
    subscribers: int
    epoch: str
    offset: int


class Flow(msgspec.Struct, frozen=True):
    """What is counted as it happens, so that asking walks nobody."""

    connections: int
    channels: int
    publications: int
    deliveries: int
    encodings: int
    bytes_sent: int
    """Past outboxes, and by outboxes of connections that have ended: not by those of living ones."""
    closes: dict[int, int]
