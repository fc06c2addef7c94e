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
    the next one, what was missed in between is handed over, and where that is not kept a Gap says so.
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

        What was taken last counts as dealt with. What waits of the inbox is left for the next who listens.
        Does not wait for the server, which is told as soon as that can be done. Cancelling changes nothing.
        """
        self.finish()
        await self._close()

    async def _close(self) -> None:
        self.end()
        if self._inflow.detach(self, self.channel):
            self._unsubscribe(self.channel)
        await trio.lowlevel.checkpoint()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.finish()
        await self._close()


class Publications(Feed[Item]):
    """Everything that comes, on every channel. Let go of, or left as a context manager, it ends."""

    def __init__(self, limit: int, inflow: Inflow) -> None:
        super().__init__(limit)
        self._inflow = inflow
        inflow.attach(self, None)

    def close(self) -> None:
        """Listen no longer, as `Subscription.aclose` does. Idempotent."""
        self.finish()
        self._close()

    def _close(self) -> None:
        self.end()
        self._inflow.detach(self, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.finish()
        self._close()

    def __del__(self) -> None:
        # What nobody can take any more of the inbox is left for the next who listens. A constructor that
        # raised has left nothing.
        if hasattr(self, "_inflow"):
            self._inflow.detach(self, None)


class Events(Feed[Event]):
    """What becomes of the connection. Let go of, it ends."""

    def __init__(self, limit: int, feeds: "WeakSet[Feed[Event]]") -> None:
        super().__init__(limit)
        feeds.add(self)
