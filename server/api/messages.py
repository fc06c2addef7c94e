"""The bodies of requests and answers. Their words are what `/openapi.json` says.

Unknown fields are refused: `channel` in place of `channels` would tell everybody, and a misspelt
`idempotency_key` would protect nobody.
"""

from typing import Annotated, Any

from msgspec import Meta, Struct

from tidings.protocol.close_codes import CloseCode
from tidings.protocol.messages.answers import ServerStats
from tidings.protocol.messages.fields import ChannelName, EventName, IdempotencyKey
from tidings.server.push import ConnectionInfo

_Channel = Annotated[
    ChannelName,
    Meta(
        description="`all`, `user:<id>`, `group:<id>`, `role:<name>` or `room:<name>`.",
        examples=["room:lobby"],
    ),
]
_Event = Annotated[
    EventName, Meta(description="What happened: the `type` of the message.", examples=["order_shipped"])
]
_Payload = Annotated[
    dict[str, Any],
    Meta(
        description="The message's `data`. A built-in event's must fit it; another's is carried as given.",
        examples=[{"order": 7}],
    ),
]
_Key = Annotated[
    IdempotencyKey,
    Meta(
        description="Chosen by the publisher, once for each publication. For 5 minutes the same key in the "
        "same channel publishes nothing more, and gives the position again (while it is among the newest "
        "300,000 keys of the server).",
        examples=["4b1a4a3e-order-7"],
    ),
]
_Epoch = Annotated[
    str, Meta(description="Changes when offsets begin anew: then those of before mean nothing.")
]
_Offset = Annotated[int, Meta(ge=0, description="Rises by one with each publication of the channel.")]

# RFC 6455 section 5.5: a close frame holds 125 bytes, two of which are the code.
REASON_BYTES = 123


class Publish(Struct, frozen=True, forbid_unknown_fields=True):
    """One event for everybody who is subscribed to a channel."""

    channel: _Channel
    event: _Event
    payload: _Payload
    idempotency_key: _Key | None = None


class PublishBatch(Struct, frozen=True, forbid_unknown_fields=True):
    """Several events, published in this order."""

    publications: Annotated[
        list[Publish], Meta(description="At most `http.batch_publications` (1,000) of them.")
    ]


class Broadcast(Struct, frozen=True, forbid_unknown_fields=True):
    """One event for several channels."""

    event: _Event
    payload: _Payload
    channels: Annotated[
        tuple[ChannelName, ...],
        Meta(
            min_length=1,
            description="Everybody, unless named; at most `http.batch_publications` (1,000) of them.",
            examples=[["all"]],
        ),
    ] = ("all",)
    idempotency_key: _Key | None = None


class Published(Struct, frozen=True):
    """The publication has its place in the channel's order."""

    channel: str
    epoch: _Epoch
    offset: _Offset


class Results(Struct, frozen=True):
    """What became of each publication, in the order given."""

    # Each is a Published or an ErrorBody; the description says so (openapi.py), since msgspec has no such type.
    results: list[Any]


class ServerReport(ServerStats, frozen=True):
    """Figures of this server since it started."""

    uptime_seconds: float
    version: str


class ChannelEntry(Struct, frozen=True):
    """A channel that somebody is subscribed to."""

    channel: str
    subscribers: int
    epoch: _Epoch
    offset: _Offset


class ChannelPage(Struct, frozen=True):
    """Some channels, by name."""

    channels: list[ChannelEntry]
    next: Annotated[
        str | None, Meta(description="Give it as `after` for the next page; null on the last one.")
    ]


class UserConnections(Struct, frozen=True):
    """A user's connections, oldest first."""

    user_id: str
    online: bool
    connections: list[ConnectionInfo]


class DisconnectUser(Struct, frozen=True, forbid_unknown_fields=True):
    """How to close a user's connections."""

    code: Annotated[
        CloseCode,
        Meta(description="The close code: from 3500 on the client does not come back by itself."),
    ] = CloseCode.DISCONNECTED
    reason: Annotated[
        str | None,
        Meta(
            description="For people, at most 123 bytes of UTF-8; else what the code means.",
            examples=["maintenance"],
        ),
    ] = None


class Disconnected(Struct, frozen=True):
    """How many connections were closed."""

    disconnected: int


class UnsubscribeUser(Struct, frozen=True, forbid_unknown_fields=True):
    """What to take a user out of."""

    channel: _Channel


class Unsubscribed(Struct, frozen=True):
    """How many connections were subscribed, and are no more."""

    unsubscribed: int
