"""A user's own channel: what its devices have not acknowledged waits there for them."""

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec
import structlog
import trio

from tidings.protocol.channels import user_channel
from tidings.protocol.messages.registry import Registry
from tidings.protocol.positions import Position
from tidings.protocol.publications import Publication
from tidings.server.brokers.base import Attachment, Broker, BrokerUnavailable, TooManyDevices
from tidings.server.delivery.fanout import Subscriber
from tidings.server.delivery.history import Histories
from tidings.server.delivery.hub import Hub
from tidings.server.delivery.replay import Replay, Skips
from tidings.server.identity import Identity
from tidings.server.policies import Policies

# How long a frame that the kernel took may stay unacknowledged, for dialects whose clients do not say so
# themselves: after a crash of the server so much of it comes twice.
LOOK_SECONDS = 1.0

# Devices noted as seen in one turn of the loop: some hundreds of microseconds.
SEEN_PER_TURN = 100

_log = structlog.get_logger("tidings.inbox")


class Sitting(Subscriber, Protocol):
    """A connection at an inbox."""

    def replay(self, replay: Replay) -> None:
        """Send the rest of what was missed, in a task that ends with the connection."""


class Opened(msgspec.Struct, frozen=True):
    """What the broker said of a new connection's channels."""

    positions: list[tuple[str, Position]]
    """Of all but the inbox."""
    inbox: tuple[str, Attachment] | None
    """The inbox and the device's place in it; None where none is kept."""


class _Seat:
    __slots__ = ("acknowledged", "channel", "device", "sent")

    def __init__(self, channel: str, device: str, acknowledged: int) -> None:
        self.channel = channel
        self.device = device
        self.acknowledged = acknowledged
        self.sent = 0
        """How much it had been sent when it left the hub."""


def skips(registry: Registry, identity: Identity) -> Skips:
    """Which publications of a history are not for an identity: they were live, and shall not be replayed.

    Those that exclude its login, and those that concern only logins older than they are: who logs in after a
    password was changed knows of it. Where a token tells whole seconds, a login of the publication's second counts
    as later; one whose token tells no time may be older than anything, and is sent them all.
    """
    earlier_only = registry.for_earlier_logins
    # What was published before this millisecond is older than the login, or of its second.
    login_ms = identity.logged_in_ms
    if not identity.login_is_exact:
        login_ms += 1000

    def skip(publication: Publication) -> bool:
        excluded = publication.excluded_session
        if excluded is not None and excluded == identity.session_id:
            return True
        return publication.event in earlier_only and login_ms > publication.time_ms

    return skip


class Inboxes:
    """Seats connections at their users' inboxes, and acknowledges for those whose dialect has no word for it.

    A device's position only ever rises by what the device has been sent. What it has been sent and not
    acknowledged comes again: at least once, never silently not at all.
    """

    def __init__(
        self,
        hub: Hub,
        broker: Broker,
        histories: Histories,
        policies: Policies,
        registry: Registry,
        *,
        outbox_bytes: int,
        piece_bytes: int,
        device_age: float,
    ) -> None:
        """Take `limits.outbox_bytes`, of which as much may wait for a device while it is sent what it missed.

        And `inbox.device_age`, in seconds: a device that is connected is noted as seen four times in it.
        """
        self._hub = hub
        self._broker = broker
        self._histories = histories
        self._policies = policies
        self._registry = registry
        self._hold_bytes = outbox_bytes
        self._piece_bytes = piece_bytes
        self._seen_every = max(device_age / 4, LOOK_SECONDS)
        self._seats: dict[Sitting, _Seat] = {}
        self._silent: dict[Sitting, _Seat] = {}
        """Those whose dialect does not acknowledge."""
        self._due: dict[tuple[str, str], int] = {}
        """What to acknowledge for them, by channel and device; bounded by the devices there are."""
        self._wanted = trio.Event()

    async def open(
        self, identity: Identity, channels: Sequence[str], device: str, *, seated: bool = True
    ) -> Opened:
        """Ask the broker for the channels of a new connection, the inbox among them, if it is to have a seat there.

        Raises TooManyDevices, BrokerUnavailable.
        """
        own = user_channel(identity.user_id)
        inbox = own if seated and self._policies.is_inbox(own) else None
        positions = [(name, await self._broker.open(name)) for name in channels if name != inbox]
        if inbox is None:
            return Opened(positions, None)
        return Opened(positions, (inbox, await self._broker.attach(inbox, device)))

    def take_seat(
        self, connection: Sitting, opened: tuple[str, Attachment]
    ) -> tuple[Position, Callable[[], None] | None]:
        """Subscribe a registered connection to its inbox.

        Returns the position after which it is sent everything, and what begins to send what it missed, to be
        called once it was told; None where it has missed nothing. No await since the channel was held.
        """
        channel, attachment = opened
        seat = _Seat(channel, connection.device, attachment.acknowledged)
        hold = self._hub.hold_back(connection, channel, attachment.position, limit=self._hold_bytes)
        assert hold is not None  # it has just been registered
        head = hold.head
        since = max(attachment.acknowledged, attachment.first - 1)
        if head.epoch != attachment.position.epoch:
            # A new epoch began since the broker was asked: nothing of it is missed, and nothing else can be had.
            since = head.offset
        self._seats[connection] = seat
        if not connection.dialect.acknowledges:
            self._silent[connection] = seat
            self._wanted.set()
        replay = Replay(
            self._hub,
            self._histories,
            connection,
            hold,
            min(since, head.offset),
            piece_bytes=self._piece_bytes,
            skips=skips(self._registry, connection.identity),
        )
        told = Position(head.epoch, min(since, head.offset))
        if told.offset == head.offset and replay.begin(()):
            return told, None
        return told, lambda: connection.replay(replay)

    def leave_seat(self, connection: Sitting) -> None:
        """A connection is about to leave the hub: note up to where it was sent the inbox. Idempotent."""
        seat = self._silent.get(connection)
        if seat is not None:
            seat.sent = max(seat.sent, self._hub.sent_to(connection, seat.channel))

    def clear_seat(self, connection: Sitting) -> None:
        """A connection has ended, and nothing of it goes out any more. Idempotent."""
        seat = self._seats.pop(connection, None)
        if seat is None:
            return
        if self._silent.pop(connection, None) is not None and connection.took_all:
            self._note(seat, seat.sent)
        self._broker.detach(seat.channel, seat.device)

    def inbox_of(self, connection: Subscriber) -> tuple[str, str] | None:
        """The inbox at which a connection sits, and its device; None for one without."""
        seat = self._seats.get(connection)  # type: ignore[call-overload]
        return None if seat is None else (seat.channel, seat.device)

    async def run(self) -> None:
        """Acknowledge for those who do not, and note who is there, until cancelled; `flush` does the last of it."""
        seen_at = trio.current_time() + self._seen_every
        while True:
            with trio.move_on_at(seen_at):
                await self._wanted.wait()
                await trio.sleep(LOOK_SECONDS)
            if trio.current_time() >= seen_at:
                await self._note_seen()
                seen_at = trio.current_time() + self._seen_every
            for connection, seat in self._silent.items():
                self._look(connection, seat)
            await self.flush()
            # No await since the last look at what is due.
            if not self._silent:
                self._wanted = trio.Event()

    async def flush(self) -> None:
        """Acknowledge what is due. What the broker does not take comes again, so it is only logged."""
        while self._due:
            (channel, device), offset = self._due.popitem()
            try:
                await self._broker.acknowledge(channel, device, offset)
            except (BrokerUnavailable, TooManyDevices) as error:
                _log.warning("not acknowledged", channel=channel, device=device or None, error=str(error))

    async def _note_seen(self) -> None:
        """Who sits here is not away, however long nothing comes: its device must not be forgotten."""
        seats = list(self._seats.values())
        for begin in range(0, len(seats), SEEN_PER_TURN):
            for seat in seats[begin : begin + SEEN_PER_TURN]:
                self._broker.detach(seat.channel, seat.device)
            await trio.lowlevel.checkpoint()

    def _look(self, connection: Sitting, seat: _Seat) -> None:
        """Take what the kernel has as received."""
        if connection.took_all:
            self._note(seat, self._hub.sent_to(connection, seat.channel))

    def _note(self, seat: _Seat, offset: int) -> None:
        if offset > seat.acknowledged:
            seat.acknowledged = offset
            self._due[seat.channel, seat.device] = offset
            self._wanted.set()
