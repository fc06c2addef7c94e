"""The real Python client in a simulated population: everything comes to it in order, or is told as a gap."""

import random
from collections.abc import Callable

import trio

from support.sim_ends import client_stream
from support.sim_ledger import Ledger
from support.sim_network import Link
from tidings.client import Address, CommandRefused, ConnectionLost, Gap, Publication, Reconnect, connect
from tidings.client.client import Client
from tidings.client.subscriptions import Subscription
from tidings.protocol.close_codes import CloseCode


class FaithfulClient:
    """One application on `tidings.client`, which stays in its rooms whatever happens to its connections."""

    def __init__(
        self,
        user: str,
        rooms: list[str],
        rng: random.Random,
        ledger: Ledger,
        open_link: Callable[[], Link],
        token: Callable[[], str],
        is_calm: Callable[[], bool],
    ) -> None:
        self.user = user
        self.rooms = rooms
        self.link: Link | None = None
        self._random = rng
        self._ledger = ledger
        self._open_link = open_link
        self._token = token
        self._is_calm = is_calm
        self._last: dict[str, int] = {}
        self._subscriptions: list[Subscription] = []

    async def run(self, talks_every: float, over: trio.Event) -> None:
        """Connect, join, talk and listen until it is over; then nothing may be missing."""
        reconnect = Reconnect(base=2.0, uniform=self._random.uniform)
        async with connect(
            "ws://push.example", token=self._token, reconnect=reconnect, dial=self._dial
        ) as client:
            async with trio.open_nursery() as nursery:
                for room in self.rooms:
                    before = len(self._ledger.logs[f"room:{room}"].records)
                    subscription = await client.join(room)
                    self._subscriptions.append(subscription)
                    nursery.start_soon(self._listen, subscription, before)
                nursery.start_soon(self._talk, client, talks_every, over)
                await over.wait()
                await client.ping()
                await trio.testing.wait_all_tasks_blocked()
                for subscription in self._subscriptions:
                    await subscription.aclose()
            self._settle()
            if self.link is not None:
                self.link.said = int(CloseCode.NORMAL)

    async def _dial(self, address: Address) -> trio.abc.Stream:  # noqa: ARG002  there is one server
        await trio.lowlevel.checkpoint()
        self.link = self._open_link()
        return client_stream(self.link)

    async def _listen(self, subscription: Subscription, before: int) -> None:
        """Read one room; the first publication may be any that was made after the joining began."""
        channel = subscription.channel
        async for item in subscription:
            last = self._last.get(channel)
            first = item.from_offset if isinstance(item, Gap) else item.offset
            if (last is None and first <= before) or (last is not None and first != last + 1):
                self._ledger.violation(f"{self.user}: {channel}: {item} came behind {last}")
            if isinstance(item, Publication):
                self._ledger.counts["deliveries to real clients"] += 1
                self._last[channel] = item.offset
                record = self._ledger.logs[channel].records[item.offset - 1].publication
                if item.channel != channel or item.raw != record.payload or item.event != record.event:
                    self._ledger.violation(f"{self.user}: {item} is not what was published")
            elif item.to_offset is None:
                self._ledger.violation(f"{self.user}: {item}, where the epoch stayed")
            else:
                self._ledger.counts["gaps told to real clients"] += 1
                self._last[channel] = item.to_offset

    async def _talk(self, client: Client, every: float, over: trio.Event) -> None:
        number = 0
        while not over.is_set():
            with trio.move_on_after(self._random.expovariate(1 / every)):
                await over.wait()
            if self._is_calm():
                return
            room, number = self._random.choice(self.rooms), number + 1
            text = f"<{self.user}.{number}>"
            try:
                published = await client.say(room, text)
            except ConnectionLost:
                continue
            except CommandRefused as refused:
                self._ledger.violation(f"{self.user}: {text} in {room}: {refused}")
                continue
            said = self._ledger.logs[f"room:{room}"].records[published.offset - 1].publication
            if text.encode() not in said.payload:
                self._ledger.violation(f"{self.user}: {text} is not {published}")

    def _settle(self) -> None:
        for room in self.rooms:
            channel = f"room:{room}"
            length = len(self._ledger.logs[channel].records)
            if self._last.get(channel, length) != length:
                self._ledger.violation(
                    f"{self.user}: {channel}: {self._last[channel]} of {length} came or were told as a gap"
                )
