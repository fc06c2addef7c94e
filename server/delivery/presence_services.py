"""Services that make requests with a key of their own: who of them is online, and when it last called."""

from collections.abc import Callable

import trio

from tidings.server.identity import Identity


class _Service:
    __slots__ = ("called_at", "called_ms", "identity")

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.called_at = -float("inf")
        """On trio's clock, in seconds: how long ago does not follow the wall clock."""
        self.called_ms = 0
        """Unix milliseconds."""


class Services:
    """The services that have called. They are as many as the configuration names: nothing is forgotten."""

    def __init__(self, seconds: float, now_ms: Callable[[], int]) -> None:
        """Take how many seconds a service counts as online after a request, and the wall clock."""
        self._seconds = seconds
        self._now_ms = now_ms
        self._services: dict[str, _Service] = {}

    def called(self, identity: Identity) -> None:
        """A service has made a request."""
        service = self._services.get(identity.user_id)
        if service is None:
            service = self._services[identity.user_id] = _Service(identity)
        service.called_at = trio.current_time()
        service.called_ms = self._now_ms()

    def is_online(self, user_id: str) -> bool:
        """Whether a service has called within the time."""
        service = self._services.get(user_id)
        return service is not None and trio.current_time() < service.called_at + self._seconds

    def online(self) -> list[str]:
        """The user ids of those that have, in no order."""
        return [user_id for user_id in self._services if self.is_online(user_id)]

    def identity_of(self, user_id: str) -> Identity | None:
        """Who it is, while it is online."""
        return self._services[user_id].identity if self.is_online(user_id) else None

    def last_seen_ms(self, user_id: str) -> int | None:
        """When a service last called, in Unix milliseconds."""
        service = self._services.get(user_id)
        return None if service is None else service.called_ms
