"""What may happen to a server and to all of its clients, one operation each; made by Hypothesis in any order."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

import trio

from support.stateful.world import World
from tidings.protocol.positions import Position
from tidings.server.shutdown import drain


class Operation(ABC):
    """One thing that happens."""

    @abstractmethod
    async def happen(self, world: World) -> None:
        """Let it happen, in one step unless it takes time by nature."""


@dataclass(frozen=True)
class Publish(Operation):
    """Publications from inside, in one step (unless the broker is slow)."""

    channel: str
    count: int
    size: int

    async def happen(self, world: World) -> None:
        for _ in range(self.count):
            await world.publish(self.channel, self.size)


@dataclass(frozen=True)
class Keyed(Operation):
    """A publication under a key: again and again the same, or another under the same key."""

    channel: str
    key: str
    body: int

    async def happen(self, world: World) -> None:
        await world.put(self.channel, "news", {"body": self.body}, idempotency_key=self.key)


@dataclass(frozen=True)
class ToUser(Operation):
    """A publication to a user that is not for all of their logins."""

    user: str
    excluded: str | None
    event: Literal["news", "user:password-changed"]

    async def happen(self, world: World) -> None:
        payload = {"id": self.user} if self.event != "news" else {"serial": next(world.serial)}
        await world.put(f"user:{self.user}", self.event, payload, excluded_session=self.excluded)


@dataclass(frozen=True)
class Clear(Operation):
    """Somebody deletes a channel's history."""

    channel: str

    async def happen(self, world: World) -> None:
        outcome = await world.context.push.clear_history(self.channel)
        if isinstance(outcome, Position):
            head = world.book.heads.get(self.channel)
            if head is not None and head.epoch == outcome.epoch:
                world.book.deleted[self.channel] = outcome.offset
        else:
            assert world.disk is not None
            assert world.disk.fails


@dataclass(frozen=True)
class Lose(Operation):
    """A channel's history in memory is lost while it is listened to: as that of a broker on a network may be."""

    channel: str

    async def happen(self, world: World) -> None:
        world.lose(self.channel)


@dataclass(frozen=True)
class Restart(Operation):
    """The server is killed and started again."""

    async def happen(self, world: World) -> None:
        await world.restart()


@dataclass(frozen=True)
class FailDisk(Operation):
    """A commit fails, sooner or later in its course, unless it is over before."""

    after: int

    async def happen(self, world: World) -> None:
        if world.disk is not None:
            world.disk.fail(self.after)
            await world.publish("room:a", 10)


@dataclass(frozen=True)
class Wait(Operation):
    """Time passes."""

    seconds: float

    async def happen(self, world: World) -> None:  # noqa: ARG002  as every operation
        await trio.sleep(self.seconds)


@dataclass(frozen=True)
class Quiet(Operation):
    """Everything that is under way comes to its end, in no time."""

    async def happen(self, world: World) -> None:
        await world.quiet()


@dataclass(frozen=True)
class Shutdown(Operation):
    """The server begins to shut down."""

    async def happen(self, world: World) -> None:
        if not world.shutting_down:
            world.shutting_down = True
            world.nursery.start_soon(drain, world.context, world.front)
