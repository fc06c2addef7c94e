"""What every connection of one server shares."""

import random
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tidings.protocol.dialects.base import Dialect
from tidings.protocol.messages.registry import Registry
from tidings.server.auth import Authenticator
from tidings.server.brokers.base import Broker
from tidings.server.config import Config
from tidings.server.delivery.history import Histories
from tidings.server.delivery.hub import Hub
from tidings.server.delivery.inbox import Inboxes
from tidings.server.delivery.presence import Presence
from tidings.server.edge.alarms import Alarms
from tidings.server.edge.engines.seam import Engine
from tidings.server.edge.guests import Entrance
from tidings.server.edge.turns import Turns
from tidings.server.limits import Admission
from tidings.server.permissions import Permissions
from tidings.server.policies import Policies
from tidings.server.push import OUTBOX_SHARE, Push

# An end costs some 0.2 ms: with as much fan-out in the same turn, a room hears of its neighbours' mass
# death by being a quarter slower for a while.
ENDINGS_PER_TURN = 8


@dataclass(slots=True)
class Context:
    """Put together once by the composition root, handed down, never global."""

    config: Config
    registry: Registry
    dialects: Mapping[str, Dialect]
    """By name."""
    engine: Engine
    authenticator: Authenticator
    permissions: Permissions
    hub: Hub
    broker: Broker
    admission: Admission
    push: Push
    policies: Policies
    histories: Histories
    inboxes: Inboxes
    presence: Presence
    doors: Mapping[str, Entrance] = field(default_factory=dict)
    """By dialect: who lets in those who come in by an app's door."""
    recoveries: Counter[str] = field(default_factory=Counter)
    """How often a client came back to a channel: recovered, or unrecoverable."""
    refusals: Counter[tuple[str, str]] = field(default_factory=Counter)
    """How often somebody was refused: by where (head, handshake, command, …) and why (a status, an error code)."""
    alarms: Alarms = field(default_factory=Alarms)
    """When which heartbeat is to look next."""
    endings: Turns = field(default_factory=lambda: Turns(ENDINGS_PER_TURN))
    """Whose connection may end in this turn of the event loop."""
    draining: bool = False
    """Whether the server is shutting down: new handshakes and `/readyz` answer 503."""
    wall_clock: Callable[[], float] = time.time
    """Unix seconds. Tokens follow it; nothing else does."""
    jitter: Callable[[], float] = field(default=random.random)
    """0 to 1, to keep a thousand heartbeats from beating at once."""

    @property
    def piece_bytes(self) -> int:
        """How much of what was missed is given to an outbox at once: a quarter of what may wait there."""
        return self.config.limits.outbox_bytes // OUTBOX_SHARE

    def now_ms(self) -> int:
        """Unix milliseconds."""
        return int(self.wall_clock() * 1000)
