"""What an application iterates over."""

from collections.abc import Callable
from types import TracebackType
from typing import Self
from weakref import WeakSet

import trio

from tidings.client.events import Event
from tidings.client.feed import Feed
from tidings.client.inflow import Inflow, Item


class Subscription(Feed[Item]):
    """One channel's publications, with a `Gap` wherever some were missed.

    An async context manager: leaving it unsubscribes. It survives the connection: it is made again on
    the next one, and a Gap says what was missed in between.
    """

    def __init__(
        self,
        limit: int,
        channel: str,
        inflow: Inflow,
        unsubscribe: Callable[[str], None],
    ) -> None:
        super().__init__(limit)
        self.channel = channel
        self._inflow = inflow
        self._unsubscribe = unsubscribe
        inflow.attach(self, channel)

    async def aclose(self) -> None:
        """Unsubscribe: the iteration ends after what waits, and nothing more is put in. Idempotent.

        Does not wait for the server, which is told as soon as that can be done. Cancelling changes nothing.
        """
        self.end()
        if self._inflow.detach(self, self.channel):
            self._unsubscribe(self.channel)
        await trio.lowlevel.checkpoint()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


class Publications(Feed[Item]):
    """Everything that comes, on every channel. Let go of, it ends."""

    def __init__(self, limit: int, inflow: Inflow) -> None:
        super().__init__(limit)
        inflow.attach(self, None)


class Events(Feed[Event]):
    """What becomes of the connection. Let go of, it ends."""

    def __init__(self, limit: int, feeds: "WeakSet[Feed[Event]]") -> None:
        super().__init__(limit)
        feeds.add(self)
