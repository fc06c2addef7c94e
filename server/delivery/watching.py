"""Whom the hub tells who comes and goes."""

from typing import Protocol

from tidings.server.delivery.fanout import Subscriber


class Watcher(Protocol):
    """Told who comes and goes. Synchronous and must not raise; it must not change the hub either."""

    def connected(self, subscriber: Subscriber) -> None:
        """A connection was registered."""

    def disconnected(self, subscriber: Subscriber) -> None:
        """A connection was forgotten, and before that unsubscribed from everything."""

    def subscribed(self, subscriber: Subscriber, channel: str) -> None:
        """A connection was subscribed to a channel that it was not subscribed to."""

    def unsubscribed(self, subscriber: Subscriber, channel: str) -> None:
        """A connection is subscribed to a channel no longer."""


class Unwatched:
    """Watches nothing."""

    def connected(self, subscriber: Subscriber) -> None:
        """Nothing."""

    def disconnected(self, subscriber: Subscriber) -> None:
        """Nothing."""

    def subscribed(self, subscriber: Subscriber, channel: str) -> None:
        """Nothing."""

    def unsubscribed(self, subscriber: Subscriber, channel: str) -> None:
        """Nothing."""
