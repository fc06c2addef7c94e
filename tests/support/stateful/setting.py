"""What all examples of the model share: limits that a handful of frames meets, tokens, one template of a server."""

import itertools
from functools import cache

import msgspec
import pytest
import trio

from support.site import configured
from support.stateful.network import ScriptedTrio
from support.stateful.watched import WatchedConnection
from tidings.server import shutdown
from tidings.server.app import Server
from tidings.server.auth import Authenticator
from tidings.server.config import Limits
from tidings.server.config.channels import ChannelRule, History, Inbox
from tidings.server.delivery import hub as hub_module
from tidings.server.delivery import outbox as outbox_module
from tidings.server.edge import connection as connection_module
from tidings.server.edge import dispatch, front
from tidings.server.edge import transport as transport_module

# So small that a handful of frames meets every limit.
LIMITS = Limits(
    message_bytes=700,
    outbox_bytes=6 * 700 + 1024,
    channels_per_connection=4,
    connections_per_user=3,
    command_burst=16,
    command_rate=10,
    fragments_per_message=4,
)

# Seconds for which who is gone counts as present.
GRACE = 5.0

INBOX = Inbox(devices=3, device_age=60.0)

# A little of each: what is trimmed by size, what by age, what is never kept, who is told of whom.
CHANNELS = {
    "room:*": ChannelRule(history_size=100, presence=True),
    "room:a": ChannelRule(history_size=12, durable=True),
    "room:b": ChannelRule(join_leave=True),
    "room:c": ChannelRule(history_age=5.0),
    "group:*": ChannelRule(history_size=0, durable=False),
    "user:*": ChannelRule(history_size=8, durable=True),
}

# As small, where the server has constants.
SMALL = {
    (hub_module, "OFFERS_PER_TURN"): 2,
    (hub_module, "PENDING_PUBLICATIONS"): 5,
    (outbox_module, "JOIN_BYTES"): 1000,
    (shutdown, "CLOSES_PER_TURN"): 2,
    (dispatch, "ERRORS_AT_ONCE"): 3,
}

# A channel that nobody listens to soon begins another life; but never while a slow broker is being asked for it.
IDLE_CHANNELS = 1
ALL_CHANNELS = 1000

#: Stands in every token, and in the reasons that clients give for their closes.
CANARY = "canary-7d1f"

ISSUED: list[str] = []
"""Every token there was."""

WALL_CLOCK = 1_900_000_000.0


def wall_clock() -> float:
    """Unix seconds, moving with virtual time."""
    try:
        return WALL_CLOCK + trio.current_time()
    except RuntimeError:
        return WALL_CLOCK


@cache
def authenticator() -> Authenticator:
    """Of all servers, on virtual time."""
    return Authenticator(configured().auth, clock=wall_clock)


def logged_in_ms(late: bool) -> int:
    """When a login was: before anything, or a moment after virtual time began."""
    return int((WALL_CLOCK + (3 if late else -100)) * 1000)


@cache
def token(
    user: str, group: str | None = None, ttl: int = 86400, session: str = CANARY, late: bool = False
) -> str:
    """A token that was issued when virtual time began."""
    issued = authenticator().issue(
        user, group_id=group, ttl=ttl, session_id=session, logged_in_ms=logged_in_ms(late)
    )
    ISSUED.append(issued)
    return issued


@cache
def server_of(engine: str) -> Server:
    """One for all examples: each puts together anew what keeps state, and shares what does not."""
    config = configured(limits=LIMITS, channels=CHANNELS, inbox=INBOX, history=History(log="none"))
    return Server(
        msgspec.structs.replace(config, server=msgspec.structs.replace(config.server, engine=engine))
    )


def watch(patch: pytest.MonkeyPatch) -> None:
    """Make the limits small, and put the witnesses and the scripted network in their places."""
    for (module, name), value in SMALL.items():
        assert hasattr(module, name)
        patch.setattr(module, name, value)
    patch.setattr(front, "Connection", WatchedConnection)
    patch.setattr(transport_module, "trio", ScriptedTrio())
    # Numbered anew in each example, so that ids are as long in every run of it.
    patch.setattr(connection_module, "_numbers", itertools.count(1))
