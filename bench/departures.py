"""When the hub lets connections go: to the moment, and without asking it over and over who is left."""

import time

from tidings.bench.replies import Departed
from tidings.server.delivery.fanout import Subscriber
from tidings.server.delivery.hub import Hub
from tidings.server.edge.connection import Connection


class Departures:
    """Notes each connection that a hub lets go, from here on."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._departures: list[tuple[str, int, float]] = []
        self._disconnect = hub.disconnect
        # On this one hub, of a process that exists to be measured.
        hub.disconnect = self._disconnected  # type: ignore[method-assign]

    def told(self) -> Departed:
        """Those since the last time."""
        departures, self._departures = self._departures, []
        return Departed(departures)

    def _disconnected(self, subscriber: Subscriber) -> None:
        before = self._hub.connections
        self._disconnect(subscriber)
        if self._hub.connections < before:  # else it was not there any more
            assert isinstance(subscriber, Connection)
            code = subscriber.closed.code if subscriber.closed else 0
            self._departures.append((subscriber.identity.user_id, code, time.monotonic()))
