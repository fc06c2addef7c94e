"""Which channels are wanted, which the server sends, and having it end those that are wanted no longer."""

from itertools import count
from typing import Any

import trio

from tidings.client.errors import CommandRefused
from tidings.client.link import PASSING, Link, Lost

# Between two attempts to tell a busy server that a channel was left: at least, and at most.
PAUSE_SECONDS = 1.0
LONGEST_PAUSE = 60.0


class Leaving:
    """Has the server end what was left, in its own time.

    Whoever leaves does not wait for a server that may be slow, away, or too busy to be told now.
    """

    def __init__(self) -> None:
        self.commands: dict[str, tuple[str, dict[str, Any]]] = {}
        """How each channel was subscribed to, so that it is subscribed to in the same way again."""
        self.own: frozenset[str] = frozenset()
        """What the server sends unasked, and goes on sending: nobody has to subscribe to it, or can leave it."""
        self._on_server: set[str] = set()
        """What this connection has asked the server for, and not asked it to end."""
        self._to_drop: set[str] = set()
        """Channels that nobody wants any more, before the server is asked to end them."""
        self._dropping: set[str] = set()
        """The same, until it has answered."""
        self._busy = trio.Lock()
        self._nursery: trio.Nursery | None = None
        self._link: Link | None = None

    def begin(self, nursery: trio.Nursery, link: Link) -> None:
        """A new connection, and where to run what has to be asked on it; the server knows of nothing yet."""
        for channels in (self._on_server, self._to_drop, self._dropping):
            channels.clear()
        self._nursery, self._link = nursery, link

    def end(self) -> None:
        """The connection is over."""
        self._nursery = self._link = None

    def is_over(self, channel: str) -> bool:
        """Whether what comes on a channel is of a subscription that was left."""
        return channel in self._to_drop or channel in self._dropping

    def is_on_server(self, channel: str) -> bool:
        """Whether this connection's server was asked for a channel."""
        return channel in self._on_server

    def want(self, channel: str, kind: str, data: dict[str, Any]) -> None:
        """A channel is wanted, and this is how to ask for it."""
        self.commands[channel] = (kind, data)
        self._to_drop.discard(channel)

    def asked(self, channel: str, *, unwanted: bool = False) -> None:
        """The server is being asked for a channel; closed while that waited to be sent, it is ended at once.

        `unwanted` is what nobody asked for to begin with: what the server sends anyway.
        """
        self._on_server.add(channel)
        if channel not in self.commands and channel not in self.own and not unwanted:
            self._drop_soon(channel)

    def refused(self, channel: str) -> None:
        """The server does not send the channel."""
        self._on_server.discard(channel)

    def leave(self, channel: str) -> bool:
        """A channel is wanted no longer; whether nothing of it comes any more."""
        self.commands.pop(channel, None)
        if channel in self.own:
            return False
        self._drop_soon(channel)
        return True

    def forget(self, channel: str) -> None:
        """The server has ended a channel."""
        self.commands.pop(channel, None)
        self._on_server.discard(channel)

    def _drop_soon(self, channel: str) -> None:
        if self._nursery is not None and channel in self._on_server and channel not in self._to_drop:
            assert self._link is not None
            self._to_drop.add(channel)
            self._nursery.start_soon(self._drop, self._link, channel)

    async def _drop(self, link: Link, channel: str) -> None:
        """Have the server end a subscription, unless somebody wants it again before it is asked."""
        pause = await self._drop_once(link, channel)
        if pause is None:
            return
        # One at a time from here on: a server that counts commands would go on refusing a crowd of them.
        async with self._busy:
            for doublings in count():
                if pause is None:
                    return
                # Whoever else gives commands draws on the same allowance: at the time named it may be gone again.
                await trio.sleep(min(LONGEST_PAUSE, pause * 2**doublings))
                pause = await self._drop_once(link, channel)

    async def _drop_once(self, link: Link, channel: str) -> float | None:
        """Ask once; in how many seconds to ask again, None when there is nothing more to ask."""
        if channel not in self._to_drop:
            return None
        self._to_drop.discard(channel)
        self._dropping.add(channel)
        try:
            await link.ask(
                "unsubscribe",
                {"channel": channel},
                on_sent=lambda: self._on_server.discard(channel),
                on_answer=lambda: self._dropping.discard(channel),
            )
        except Lost:
            return None
        except CommandRefused as refusal:
            if refusal.code not in PASSING or channel in self.commands:
                return None
            self._on_server.add(channel)
            self._to_drop.add(channel)
            return max(PAUSE_SECONDS, refusal.retry_after or 0.0)
        return None
