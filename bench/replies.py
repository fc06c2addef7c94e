"""What the measured and the measuring processes answer, one JSON object a line."""

import msgspec


class Refused(msgspec.Struct, frozen=True):
    """A request that failed, and why."""

    error: str


class Ready(msgspec.Struct, frozen=True):
    """The first line of every process: it takes requests, and where it listens, if it does."""

    ready: bool
    port: int = 0


class Done(msgspec.Struct, frozen=True):
    """Nothing to say but that it is done."""

    done: bool = True


class ServerState(msgspec.Struct, frozen=True):
    """The server, as it sees itself."""

    statistics: dict[str, int]
    """The numbers of `hub.statistics()`."""
    closes: dict[str, int]
    """Its close codes."""
    sockets: int
    """Sockets admitted, in all."""
    addresses: int
    """Addresses with a connection."""
    handled: int
    """WebSocket connections between accept and their end."""
    tasks: int
    """Living tasks, as a trio instrument counted them."""
    blocks: int
    """Blocks of memory in use, of any kind of object; what the allocator keeps for the next ones is not in it."""
    objects: dict[str, int]
    """Living objects of the kinds that a leaked connection would leave; empty unless asked for."""


class Collections(msgspec.Struct, frozen=True):
    """Garbage collections of one generation."""

    count: int
    seconds: float
    worst: float
    freed: int


class Pauses(msgspec.Struct, frozen=True):
    """Garbage collections since the last time this was asked, by generation."""

    generations: list[Collections]


class Collected(msgspec.Struct, frozen=True):
    """A full collection, asked for."""

    seconds: float
    tracked: int
    """Objects that it had to walk."""
    freed: int


class Inbound(msgspec.Struct, frozen=True):
    """Messages to the server, so many in a write."""

    messages: int
    server_cpu: float
    seconds: float
    load_share: float
    answers: int
    """Data frames that came back."""


class Waiting(msgspec.Struct, frozen=True):
    """What waits in the outboxes of some users' connections."""

    pending: list[int | None]
    """Bytes for each user in turn; None: the hub has no connection of this one."""


class Departed(msgspec.Struct, frozen=True):
    """Who left the hub since the last time this was asked, in that order."""

    departures: list[tuple[str, int, float]]
    """The user, the close code, and the `time.monotonic()` at which the hub had let go."""


class Joined(msgspec.Struct, frozen=True):
    """The end of `connect`."""

    joined: int
    refused: dict[str, int]
    """Why the others did not, and how many of them."""
    seconds: float
    cpu: float
    server_cpu: float = 0.0
    """Seconds of the server's, where it was named."""
    arrivals: list[float] = []
    """Where a timeline was asked for: seconds from the first connect to each one's joining, rising."""
    resent: int = 0
    """… and how many of them joined only after the kernel had sent something of theirs again."""


class Left(msgspec.Struct, frozen=True):
    """The end of `leave`."""

    dropped: int
    """Clients whose closing handshake did not end in time, or that were not reading; after `drop`, all."""


class Churned(msgspec.Struct, frozen=True):
    """Comings and goings, at their end."""

    came: int
    refused: dict[str, int]
    """Why others did not come in, and how many of them."""
    ways: dict[str, int]
    """How many left in each of the ways of `churn.WAYS`."""
    late: int
    """Closing handshakes that did not end in time."""
    received: int
    problem_count: int
    problems: list[str]


class Attacked(msgspec.Struct, frozen=True):
    """Hostile connections, and what came of them."""

    done: dict[str, int]
    """How many of each kind."""
    closes: dict[str, int]
    """The close codes that the server must have recorded for them."""
    wrong_count: int
    wrong: list[str]
    """What ended otherwise than it must, in words."""


class Quantiles(msgspec.Struct, frozen=True):
    """A distribution; seconds, where it is one of times."""

    count: int
    p50: float
    p90: float
    p99: float
    p999: float
    worst: float
    curve: list[float] = []
    """The values at `quantiles.CURVE_SHARES`, to be drawn."""


class Rounds(msgspec.Struct, frozen=True):
    """A closed loop: one message, then wait until all have it."""

    completion: list[float]
    """Seconds from sending to the last client's receipt, for each round."""
    cpu: list[float]
    """Seconds of server CPU from one round's last receipt to the next one's."""
    latency: Quantiles
    """From the moment at which a round was sent to each client's receipt."""
    deliveries: int
    server_cpu: float
    """Seconds, from before the first message until after the last delivery."""
    load_share: float
    """CPU time of the load process against wall time, while a completion was waited for."""
    load_cpu: float = 0.0
    """The same in seconds."""
    messages: int = 0
    """What the clients sent."""


class OpenRun(msgspec.Struct, frozen=True):
    """The end of an open loop."""

    published: int
    seconds: float
    overloaded: bool = False
    """Whether it was stopped because too much was still to be delivered."""
    done: bool = True


class HttpRun(msgspec.Struct, frozen=True):
    """HTTP requests, one after another on each of some connections."""

    requests: int
    """Answered within `seconds`."""
    seconds: float
    statuses: dict[str, int]
    failures: dict[str, int]
    """Connections that ended otherwise, by why."""
    latency: Quantiles


class FleetState(msgspec.Struct, frozen=True):
    """The clients of one process."""

    joined: int
    received: int
    missing: int
    repeated: int
    pings: int
    problem_count: int
    problems: list[str]
    lowest: int
    """Last offset of the joined client that is furthest behind; stalled ones do not count."""
    highest: int
    published: int
    acknowledged: int
    """The highest offset that the server has acknowledged."""
    load_share: float
    """CPU time against wall time since the last time this was asked."""
    answers: int = 0
    """Publications that the server has acknowledged, in number."""
    expected: int = 0
    """Deliveries that there must have been in the end, room by room."""


class ClientState(msgspec.Struct, frozen=True):
    """One client, or what a group of clients has in common."""

    number: int
    received: int
    last: int
    is_gone: bool
    close_code: int | None
    told_code: int | None
    told_delay: float | None
    told_reconnect: bool | None
    reset: bool


class Clients(msgspec.Struct, frozen=True):
    """Some clients, one by one."""

    clients: list[ClientState]
