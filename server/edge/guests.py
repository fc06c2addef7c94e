"""Who has come in by an app's door, as that app sees it."""

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, Protocol

import msgspec

from tidings.protocol.close_codes import CloseCode
from tidings.protocol.dialects.base import Dialect
from tidings.protocol.publications import Publication
from tidings.server.brokers.base import Broker, BrokerUnavailable
from tidings.server.delivery.fanout import Subscriber
from tidings.server.delivery.hub import Hub
from tidings.server.extension import App, BrokenApp, Door, ErrorCode, NameConflict, PublishRefused, Refusal
from tidings.server.identity import Identity


class Entrance(NamedTuple):
    """A door, and what its app has declared."""

    door: Door
    answers: Mapping[type[msgspec.Struct], str]
    events: Mapping[type[msgspec.Struct], str]


def entrances(apps: Iterable[App], dialects: Mapping[str, Dialect]) -> dict[str, Entrance]:
    """The doors of all apps, by dialect. Raises NameConflict where two keep one, BrokenApp where none can be."""
    owners: dict[str, App] = {}
    found: dict[str, Entrance] = {}
    for app in apps:
        for dialect, door in app.doors.items():
            if dialect not in dialects or not dialects[dialect].by_door:
                raise BrokenApp(
                    f"app {app.name!r}: {dialect!r} is no dialect whose connections come in by a door"
                )
            if dialect in owners:
                raise NameConflict(
                    f"the door of {dialect!r} is kept by {owners[dialect].name!r} and by {app.name!r}: leave one of"
                    " them out of server.apps"
                )
            owners[dialect] = app
            events = {payload: name for name, payload in app.events.items()}
            found[dialect] = Entrance(door, app.answer_names, events)
    return found


class _Connection(Subscriber, Protocol):
    """What a guest needs of its connection."""

    device: str

    @property
    def is_closing(self) -> bool:
        """Whether a close is recorded."""

    def say(self, messages: Iterable[bytes | None]) -> None:
        """Send encoded messages behind all that was published or said before, and before what will be."""


class Visitor:
    """The `Guest` of an app: one connection, from its registration to its end."""

    __slots__ = ("_broker", "_connection", "_entrance", "_hub", "_now_ms")

    def __init__(
        self,
        entrance: Entrance,
        connection: _Connection,
        hub: Hub,
        broker: Broker,
        now_ms: Callable[[], int],
    ) -> None:
        """Take whose door it came in by, and what it is subscribed with."""
        self._entrance = entrance
        self._connection = connection
        self._hub = hub
        self._broker = broker
        self._now_ms = now_ms

    @property
    def connection_id(self) -> str:
        """Unique, also over restarts."""
        return self._connection.connection_id

    @property
    def identity(self) -> Identity:
        """Who it is."""
        return self._connection.identity

    @property
    def device(self) -> str:
        """What it calls its device."""
        return self._connection.device

    @property
    def peer(self) -> str:
        """The client's address."""
        return self._connection.peer

    @property
    def is_closing(self) -> bool:
        """Whether a close is recorded."""
        return self._connection.is_closing

    @property
    def has_room(self) -> bool:
        """Whether at most half of what may wait for it does."""
        return self._connection.has_room

    async def wait_room(self) -> None:
        """Wait until it has room, or takes nothing any more."""
        await self._connection.wait_room()

    def tell(self, *said: msgspec.Struct) -> None:
        """Send answers and events of the app, in one go. Raises LookupError for what the app has not declared."""
        # Encoded before anything is sent: all of it, or nothing.
        self._connection.say([self._encode(each) for each in said])

    def _encode(self, said: msgspec.Struct) -> bytes | None:
        dialect, now_ms = self._connection.dialect, self._now_ms()
        event = self._entrance.events.get(type(said))
        if event is None:
            return dialect.encode_answer(self._entrance.answers[type(said)], said, now_ms)
        return dialect.encode_publication(Publication("", event, msgspec.json.encode(said), 0, "", now_ms))

    def hears(self, channel: str) -> bool:
        """Whether it is subscribed to a channel."""
        return self._hub.is_subscribed(self._connection, channel)

    async def hear(self, channel: str) -> None:
        """Subscribe it to a channel more. Raises PublishRefused. Cancelled, it has not been done."""
        hub = self._hub
        with hub.holding((channel,)):
            try:
                position = await self._broker.open(channel)
            except BrokerUnavailable as error:
                raise PublishRefused(Refusal(ErrorCode.UNAVAILABLE, str(error))) from error
            # Nothing, where it has left meanwhile.
            hub.subscribe(self._connection, channel, position)

    def close(self, code: CloseCode, reason: str | None = None) -> bool:
        """Close it."""
        return self._connection.close(code, reason)
