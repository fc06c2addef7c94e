"""Presence: who is in a channel, who is online, on which devices, and when somebody was last seen."""

import heapq
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Literal

import msgspec
import trio

from tidings.protocol.channels import ALL, kind_of, user_channel
from tidings.protocol.messages.answers import PresentMember
from tidings.server.brokers.base import Broker
from tidings.server.delivery.fanout import Subscriber
from tidings.server.delivery.hub import Hub
from tidings.server.delivery.presence_lists import LEAST_BYTES, MOST_BYTES
from tidings.server.delivery.presence_members import Members
from tidings.server.delivery.presence_services import Services
from tidings.server.identity import Identity
from tidings.server.policies import Policies

# Of so many users who are gone it is known when they were last seen: about 210 bytes each, 21 MB in all.
# Whose inbox has devices is known for longer, by those.
REMEMBERED: Final = 100_000

# Users looked at between two checkpoints when they are listed: some 2 ms.
USERS_PER_TURN: Final = 500

Kind = Literal["user", "device", "service"]


class OnlineUser(msgspec.Struct, frozen=True):
    """Somebody who is online."""

    user_id: str
    username: str
    kind: Kind
    connections: int
    """0 for a service that only makes requests."""
    devices: list[str]
    """The names of devices that are connected, sorted; connections without one are in no list."""


class Crowd(msgspec.Struct, frozen=True):
    """More are present than a list may hold."""

    count: int


class DeviceState(msgspec.Struct, frozen=True):
    """A device of a user: connected, or known to the user's inbox."""

    device: str
    """Empty for all connections without a name together."""
    connected: bool
    last_seen_ms: int
    """Unix milliseconds; now for one that is connected."""
    acknowledged: int | None
    """The offset up to which it has received the user's channel; None where no inbox is kept."""


class Presence:
    """Watches the hub; knows its node's users, and through the broker the members of channels on all nodes.

    Its methods as the hub's Watcher are synchronous and never raise. One task, `run`, does what has to wait.
    """

    def __init__(
        self,
        hub: Hub,
        broker: Broker,
        policies: Policies,
        *,
        grace: float,
        service_seconds: float,
        now_ms: Callable[[], int] = lambda: int(time.time() * 1000),
    ) -> None:
        """Take how long who is gone counts as present, and who has called as online; both in seconds.

        `now_ms` is the wall clock, in Unix milliseconds, by which somebody was last seen.
        """
        self._hub = hub
        self._broker = broker
        self._policies = policies
        self._members = Members(broker, policies, grace=grace)
        self._services = Services(service_seconds, now_ms)
        self._now_ms = now_ms
        self._last_seen: OrderedDict[str, int] = OrderedDict()
        """When the last connection of each user went, the longest ago first."""

    async def run(self) -> None:
        """Tell the broker who comes and goes, until cancelled. Survives whatever the broker does."""
        await self._members.run()

    # --- as the hub's watcher ------------------------------------------------------------------------

    def connected(self, subscriber: Subscriber) -> None:
        """Nothing: the hub itself knows who is connected."""

    def disconnected(self, subscriber: Subscriber) -> None:
        """Note when the last connection of a user went."""
        user_id = subscriber.identity.user_id
        if not self._hub.connections_of(user_id):
            self._last_seen[user_id] = self._now_ms()
            self._last_seen.move_to_end(user_id)
            if len(self._last_seen) > REMEMBERED:
                self._last_seen.popitem(last=False)

    def subscribed(self, subscriber: Subscriber, channel: str) -> None:
        """Count a user's connection in a channel."""
        self._members.came(channel, subscriber.identity)

    def unsubscribed(self, subscriber: Subscriber, channel: str) -> None:
        """Count it out."""
        self._members.went(channel, subscriber.identity.user_id)

    # --- what else is noted --------------------------------------------------------------------------

    def renewed(self, subscriber: Subscriber) -> None:
        """A connection has another identity of the same user, perhaps with another name. Synchronous."""
        for channel in self._hub.channels_of(subscriber):
            self._members.renamed(channel, subscriber.identity)

    def called(self, service: Identity) -> None:
        """A service has made a request with its key. Synchronous, once for each request."""
        self._services.called(service)

    # --- channels ------------------------------------------------------------------------------------

    def keeps(self, channel: str) -> bool:
        """Whether it is known who is present in a channel."""
        return self._policies.of(channel).presence

    def how_to_keep(self, channel: str) -> str:
        """What whoever asks is told where it is not known: it names the key to set."""
        pattern = ALL if channel == ALL else f"{kind_of(channel)}:*"
        return f'{channel}: it is not kept who is here: set presence = true in [channels."{pattern}"]'

    async def members(self, channel: str) -> list[PresentMember]:
        """Who is present in a channel, on any node, by user id; nobody where no presence is kept.

        Who has just subscribed is among them. Not to be changed: others may be given the same list. Raises
        BrokerUnavailable.
        """
        return (await self._members.of(channel)).members if self.keeps(channel) else []

    async def members_within(self, channel: str, most_bytes: int) -> list[PresentMember] | Crowd:
        """As `members`, where their list takes at most so many bytes of JSON.

        That they are too many is mostly seen by their number, before a list is made. Raises BrokerUnavailable.
        """
        count = self._members.at_least(channel) if self.keeps(channel) else 0
        if count * LEAST_BYTES > most_bytes:
            return Crowd(count)
        listing = await self._members.of(channel)
        members = listing.members
        if len(members) * MOST_BYTES > most_bytes and listing.bytes > most_bytes:
            return Crowd(len(members))
        return members

    # --- users of this node --------------------------------------------------------------------------

    def is_online(self, user_id: str) -> bool:
        """Whether a user has a connection, or is a service that has called a moment ago."""
        return bool(self._hub.connections_of(user_id)) or self._services.is_online(user_id)

    def last_seen_ms(self, user_id: str) -> int | None:
        """When somebody was last here, in Unix milliseconds: now for who is online, None where it is not known."""
        if self.is_online(user_id):
            return self._now_ms()
        times = (self._last_seen.get(user_id), self._services.last_seen_ms(user_id))
        return max((each for each in times if each is not None), default=None)

    def devices(self, user_id: str) -> list[str]:
        """The devices of a user that are connected, sorted; empty stands for connections without a name."""
        return sorted({subscriber.device for subscriber in self._hub.connections_of(user_id)})

    async def known_devices(self, user_id: str) -> list[DeviceState]:
        """The devices of a user that are connected or that the user's inbox knows, by name.

        Raises BrokerUnavailable.
        """
        channel = user_channel(user_id)
        known = await self._broker.devices(channel) if self._policies.is_inbox(channel) else ()
        now_ms, connected = self._now_ms(), self.devices(user_id)
        states = {
            device.name: DeviceState(device.name, False, device.seen_ms, device.acknowledged)
            for device in known
        }
        for name in connected:
            acknowledged = states[name].acknowledged if name in states else None
            states[name] = DeviceState(name, True, now_ms, acknowledged)
        return [states[name] for name in sorted(states)]

    async def online(
        self, *, prefix: str = "", after: str = "", kind: Kind | None = None, most: int
    ) -> tuple[list[OnlineUser], str | None]:
        """At most `most` users of this node who are online, by user id: those of a kind, behind `after`.

        With what to give as `after` for the following ones; None where there are none. Yields in between: who
        comes or goes meanwhile may be in the list or not.
        """
        chosen: list[str] = []
        everybody = self._hub.online_users()
        everybody += [
            user_id for user_id in self._services.online() if not self._hub.connections_of(user_id)
        ]
        for begin in range(0, len(everybody), USERS_PER_TURN):
            if begin:
                await trio.lowlevel.checkpoint()
            fitting = [
                user_id
                for user_id in everybody[begin : begin + USERS_PER_TURN]
                if user_id > after
                and user_id.startswith(prefix)
                and (kind is None or self._kind_of(user_id) == kind)
            ]
            # One more than asked for tells whether there are others.
            chosen = heapq.nsmallest(most + 1, [*chosen, *fitting])
        found = (self._online_user(user_id) for user_id in chosen[:most])
        return [user for user in found if user is not None], chosen[most - 1] if len(
            chosen
        ) > most else None

    def _newest(self, user_id: str) -> Identity | None:
        connections = self._hub.connections_of(user_id)
        return connections[-1].identity if connections else self._services.identity_of(user_id)

    def _kind_of(self, user_id: str) -> Kind | None:
        identity = self._newest(user_id)
        return None if identity is None else identity.kind

    def _online_user(self, user_id: str) -> OnlineUser | None:
        identity = self._newest(user_id)
        if identity is None:
            return None  # gone meanwhile
        connections = len(self._hub.connections_of(user_id))
        devices = [name for name in self.devices(user_id) if name]
        return OnlineUser(user_id, identity.username, identity.kind, connections, devices)
