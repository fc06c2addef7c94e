"""What happens to a simulated population: what its clients do, what is published, what goes wrong."""

import random
from collections.abc import Callable
from typing import Any

import trio

from support.sim_client import LightClient
from support.sim_ledger import Ledger
from support.sim_network import TICK, Wire
from tidings.server.push import Push

# Bytes of one publication of a flood; two a second are no flood for whoever reads.
FLOOD_BYTES = 2000
FLOOD_PERIOD = 1.0


class Script:
    """Everything random that is not a client's own, drawn from one seed."""

    def __init__(
        self, wire: Wire, ledger: Ledger, clients: list[LightClient], rooms: list[str], seed: int
    ) -> None:
        self._wire = wire
        self._ledger = ledger
        self._clients = clients
        self._rooms = rooms
        self._random = random.Random(f"script {seed}")
        self._push: Push = ledger.server.context.push
        self._outbox = ledger.server.context.config.limits.outbox_bytes
        self.is_over = False
        """Whether nothing more is to begin."""
        self._texts = 0
        self._faults: dict[str, tuple[int, Callable[[LightClient], None]]] = {
            "cut": (16, self._cut),
            "reset": (10, self._reset),
            "half-open upwards": (6, self._dead_up),
            "half-open downwards": (6, self._dead_down),
            "half-open both ways": (6, self._dead_both),
            "half-open and healed": (10, self._dead_and_healed),
            "stalled for a moment": (12, self._stalled_shortly),
            "stalled for good": (4, self._stalled),
            "stalled in a flood": (8, self._flooded),
            "sliced": (10, self._sliced),
            "slow": (6, self._slow),
            "kicked": (3, self._kicked),
            "goodbye": (6, self._goodbye),
        }

    # --- what clients do -----------------------------------------------------------------------------

    def live(self, client: LightClient, every: float) -> None:
        """Have a client do something now and then, on average every so many seconds."""
        if self.is_over:
            return
        if client.is_up:
            self._act(client)
        self._wire.after(client.random.expovariate(1 / every), lambda: self.live(client, every))

    def _act(self, client: LightClient) -> None:
        rng = client.random
        under_way = {about for _, about in client.asked.values()}
        inside = [room for room in client.rooms if f"room:{room}" in client.got and room not in under_way]
        choice = rng.random()
        if choice < 0.05 or (not inside and choice < 0.5):
            client.do(("ping", {}, ""))
        elif choice < 0.15:
            client.do(client.acknowledging())
        elif choice < 0.25 or not inside:
            self._join(client, rng.choice(self._rooms), under_way)
        elif choice < 0.70:
            room = rng.choice(inside)
            client.do(*(self._word(client, room) for _ in range(rng.choice((1, 1, 1, 2, 4)))))
        else:
            # Leaving in one breath with the last words: they must still come back.
            room = rng.choice(inside)
            client.rooms.remove(room)
            client.past.pop(f"room:{room}", None)
            words = [self._word(client, room) for _ in range(rng.choice((0, 1, 3)))]
            client.do(*words, ("leave_room", {"room": room}, room))

    def _join(self, client: LightClient, room: str, under_way: set[str]) -> None:
        if room not in client.rooms and room not in under_way:
            client.rooms.append(room)
            client.do(client.joining(room))

    def _word(self, client: LightClient, room: str) -> tuple[str, dict[str, Any], str]:
        self._texts += 1
        text = f"<{client.number}.{self._texts}>" + "." * int(client.random.random() * 200)
        return "room_message", {"room": room, "text": text}, text

    # --- what is published from the server -------------------------------------------------------------

    async def publish(self, every: float, users: list[str]) -> None:
        """Publish to users, rooms and all, on average every so many seconds."""
        rng = random.Random(f"publisher {self._ledger.seed}")
        while not self.is_over:
            await trio.sleep(max(1, round(rng.expovariate(1 / every) / TICK)) * TICK)
            for _ in range(rng.choice((1, 1, 1, 3))):
                self._texts += 1
                fields = {"message": f"<{self._texts}>" + "." * int(rng.random() * 200)}
                chance = rng.random()
                if chance < 0.75:
                    await self._push.to_user(rng.choice(users), "system_message", fields)
                elif chance < 0.98:
                    await self._push.to_room(rng.choice(self._rooms), "system_message", fields)
                else:
                    await self._push.broadcast("system_message", fields)

    async def _flood(self, client: LightClient, count: int) -> None:
        link = client.link
        for number in range(count):
            await self._push.to_user(client.user, "flood", {"number": number, "text": "~" * FLOOD_BYTES})
            await trio.sleep(FLOOD_PERIOD)
            if client.link is not link or link is None or link.freed_at is not None:
                return

    # --- what goes wrong -----------------------------------------------------------------------------

    def go_wrong(self, nursery: trio.Nursery, every: float) -> None:
        """Have something go wrong for somebody, on average every so many seconds, until it is over."""
        if self.is_over:
            return
        self._nursery = nursery
        kinds = list(self._faults)
        client = self._random.choice(self._clients)
        kind = self._random.choices(kinds, [self._faults[kind][0] for kind in kinds])[0]
        if client.link is not None and client.link.is_clear(0.5):
            self._ledger.counts[kind] += 1
            self._faults[kind][1](client)
        self._wire.after(self._random.expovariate(1 / every), lambda: self.go_wrong(nursery, every))

    def _cut(self, client: LightClient) -> None:
        assert client.link is not None
        client.link.cut()

    def _reset(self, client: LightClient) -> None:
        assert client.link is not None
        client.link.cut(reset=True)

    def _dead_up(self, client: LightClient) -> None:
        assert client.link is not None
        client.link.up.block(dead=True)

    def _dead_down(self, client: LightClient) -> None:
        assert client.link is not None
        client.link.down.block(dead=True)

    def _dead_both(self, client: LightClient) -> None:
        self._dead_up(client)
        self._dead_down(client)

    def _dead_and_healed(self, client: LightClient) -> None:
        self._random.choice((self._dead_up, self._dead_down, self._dead_both))(client)
        self._heal(client, self._random.uniform(0.5, 9))

    def _heal(self, client: LightClient, seconds: float) -> None:
        assert client.link is not None
        self._wire.after(seconds, client.link.heal)

    def _stalled(self, client: LightClient) -> None:
        assert client.link is not None
        client.link.down.block(stalled=True)

    def _stalled_shortly(self, client: LightClient) -> None:
        """Back-pressure without an overflow: what waits comes when it reads again."""
        self._stalled(client)
        self._nursery.start_soon(self._flood, client, self._random.choice((0, 2, 5)))
        self._heal(client, self._random.uniform(1, 9))

    def _flooded(self, client: LightClient) -> None:
        """More than the outbox holds; half of them read again in time to be told why they are closed."""
        self._stalled(client)
        link = client.link
        assert link is not None
        assert self._nursery is not None
        count = (self._outbox + link.down.room) // FLOOD_BYTES + 2
        self._nursery.start_soon(self._flood, client, count)
        if self._random.random() < 0.5:
            self._wire.after(FLOOD_PERIOD, lambda: self._read_once_closed(client))

    def _read_once_closed(self, client: LightClient) -> None:
        link, account = client.link, client.account
        if link is None or link.is_freed():
            return
        if account is not None and account.gone_at is not None:
            self._heal(client, self._random.uniform(0, 0.75))
        else:
            self._wire.after(TICK, lambda: self._read_once_closed(client))

    def _sliced(self, client: LightClient) -> None:
        assert client.link is not None
        client.link.up.sliced = client.link.down.sliced = True

    def _slow(self, client: LightClient) -> None:
        link, ticks = client.link, self._random.randrange(2, 16)
        assert link is not None
        link.slow_down(ticks)
        self._wire.after(self._random.uniform(5, 60), lambda: link.speed_up(ticks))

    def _kicked(self, client: LightClient) -> None:
        """By an administrator, in one breath with a publication that says why."""
        self._nursery.start_soon(self._kick, client.user)

    async def _kick(self, user: str) -> None:
        await self._push.to_user(user, "force_logout", {"reason": "kicked", "message": "by the script"})
        # No await from here on: what is published by now is owed to all of them.
        ledger = self._ledger
        for account in ledger.living.values():
            if account.user_id == user:
                account.link.kicked = True
                if account.link.is_clear(30):
                    # Whoever is being sent what it missed gets the rest when it comes back.
                    hub = ledger.server.context.hub
                    account.owed = {
                        channel: len(ledger.logs[channel].records)
                        for channel in account.open
                        if not hub.is_held(account.subscriber, channel)
                    }
        self._push.disconnect(user)

    def _goodbye(self, client: LightClient) -> None:
        client.say_goodbye()
