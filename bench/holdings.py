"""What a server holds for its connections, number by number: what is left of those that ended is a leak."""

import msgspec

from tidings.bench.observe import descriptors
from tidings.bench.processes import Child
from tidings.bench.replies import ServerState
from tidings.bench.workbench import poll

# How long what is over may take to be gone. A connection that is out of the hub may still be closing for
# `heartbeat.close_timeout`, 2 s.
PATIENCE_SECONDS = 10.0


class Holdings(msgspec.Struct, frozen=True):
    """Everything that a connection takes of a server, but memory, which stays with the allocator."""

    connections: int
    users: int
    channels: int
    subscriptions: int
    outbox_bytes: int
    handled: int
    sockets: int
    addresses: int
    tasks: int
    descriptors: int
    objects: dict[str, int]
    """Living objects of the classes that a forgotten connection would leave; none unless looked at deeply."""

    @classmethod
    def of(cls, state: ServerState, pid: int) -> "Holdings":
        """What the server of that process id has now."""
        numbers = state.statistics
        return cls(
            connections=numbers["connections"],
            users=numbers["users"],
            channels=numbers["channels"],
            subscriptions=numbers["subscriptions"],
            outbox_bytes=numbers["outbox_bytes"],
            handled=state.handled,
            sockets=state.sockets,
            addresses=state.addresses,
            tasks=state.tasks,
            descriptors=descriptors(pid),
            objects=state.objects,
        )

    def numbers(self) -> dict[str, int]:
        """All of it by name; objects by their class."""
        plain = msgspec.structs.asdict(self)
        objects = plain.pop("objects")
        return plain | {f"objects: {kind}": count for kind, count in objects.items()}

    def difference(self, wanted: "Holdings") -> str:
        """In which numbers it differs, in words; empty when in none."""
        mine, theirs = self.numbers(), wanted.numbers()
        return ", ".join(
            f"{name}: {mine.get(name, 0)} instead of {theirs.get(name, 0)}"
            for name in mine | theirs
            if mine.get(name, 0) != theirs.get(name, 0)
        )


async def holdings(
    server: Child, like: Holdings | None = None, seconds: float = PATIENCE_SECONDS
) -> Holdings:
    """What the server holds at rest, after a garbage collection, which stops it for a moment.

    With `like`, first wait until it holds no more than that, for at most `seconds`. A look that meets a heartbeat
    on its way out is taken again, for at most as long. Raises ChildFailed.
    """

    async def look(*, deep: bool) -> Holdings:
        return Holdings.of(await server.ask(ServerState, "stats", deep=deep), server.pid)

    def at_rest(now: Holdings) -> bool:
        return not now.outbox_bytes if like is None else _without_objects(now) == _without_objects(like)

    # Objects are counted at the end, and as a rule once: the collection before it is dear.
    seen = await poll(lambda: look(deep=False), at_rest, seconds)
    if not at_rest(seen):
        return await look(deep=True)
    return await poll(lambda: look(deep=True), at_rest, seconds)


def _without_objects(held: Holdings) -> Holdings:
    return msgspec.structs.replace(held, objects={})
