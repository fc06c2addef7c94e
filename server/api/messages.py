"""The bodies of requests and answers. Their words are what `/openapi.json` says.

Unknown fields are refused: `channel` in place of `channels` would tell everybody, and a misspelt
`idempotency_key` would protect nobody.
"""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from tidings.protocol.close_codes import CloseCode
from tidings.protocol.messages.answers import ServerStats
from tidings.protocol.messages.fields import ChannelName, EventName, IdempotencyKey, UserId
from tidings.server.brokers.base import Durability
from tidings.server.claims import MAX_ID_CHARS
from tidings.server.delivery.presence import Kind
from tidings.server.identity import NO_END
from tidings.server.push import SESSION_CHARS, ConnectionInfo

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
_Excluded = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=SESSION_CHARS,
        description="Only with a user's own channel or a role's: the login (`sid`) that it is not for, as the one "
        "that has caused it.",
    ),
]

_Seen = Annotated[
    str,
    Meta(
        description="When it was last here, ISO 8601 in UTC; now where it is.",
        examples=["2026-11-21T20:10:00.123Z"],
    ),
]

# RFC 6455 section 5.5: a close frame holds 125 bytes, two of which are the code.
REASON_BYTES = 123


class Publish(Struct, frozen=True, forbid_unknown_fields=True):
    """One event for everybody who is subscribed to a channel."""

    channel: _Channel
    event: _Event
    payload: _Payload
    idempotency_key: _Key | None = None
    excluded_session: _Excluded | None = None


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
    excluded_session: _Excluded | None = None


class Published(Struct, frozen=True, omit_defaults=True):
    """The publication has its place in the channel's order."""

    channel: str
    epoch: _Epoch
    offset: _Offset
    durability: Annotated[
        Durability,
        Meta(
            description="What this answer promises: `memory` ends with the server's process, `disk` was synced "
            "before it was answered."
        ),
    ]
    dropped: Annotated[
        int,
        Meta(
            ge=0,
            description="Told where it is not 0: so many older publications, which somebody has not "
            "acknowledged, made room for this one. An inbox was full.",
        ),
    ] = 0


class Results(Struct, frozen=True):
    """What became of each publication, in the order given."""

    # Each is a Published or an ErrorBody; the description says so (openapi.py), since msgspec has no such type.
    results: list[Any]


class ServerReport(ServerStats, frozen=True):
    """Figures of this server since it started."""

    uptime_seconds: float
    version: str


class About(Struct, frozen=True):
    """What a front end has to know before anybody has logged in."""

    version: str
    apps: Annotated[list[str], Meta(description="The apps that run, as `rooms` and `accounts`.")]
    endpoints: Annotated[
        dict[str, str],
        Meta(description="Which dialect is spoken at which path.", examples=[{"/ws": "native"}]),
    ]


class Caller(Struct, frozen=True):
    """Who calls, as the token says."""

    user_id: str
    username: str
    roles: list[str]
    kind: Literal["user", "device", "service"]
    group_id: str | None
    expires_at: Annotated[int, Meta(description="Unix seconds at which the token ends.")]


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


class MemberEntry(Struct, frozen=True):
    """Somebody who is present."""

    user_id: str
    username: str
    kind: Kind


class PresentMembers(Struct, frozen=True):
    """Who is present in a channel, by user id."""

    channel: str
    members: list[MemberEntry]


class OnlineEntry(Struct, frozen=True):
    """Somebody who is online."""

    user_id: str
    username: str
    kind: Kind
    connections: Annotated[
        int, Meta(ge=0, description="On this node; 0 for a service that only makes requests.")
    ]
    devices: Annotated[
        list[str],
        Meta(description="Those that are connected, sorted; connections may have no device's name."),
    ]


class OnlinePage(Struct, frozen=True):
    """Some of the users who are online, by user id."""

    users: list[OnlineEntry]
    next: Annotated[
        str | None, Meta(description="Give it as `after` for the next page; null on the last one.")
    ]


class DeviceEntry(Struct, frozen=True):
    """A device of a user."""

    device: Annotated[
        str, Meta(description="Empty for the connections that name none: they share a position.")
    ]
    connected: bool
    last_seen: _Seen
    acknowledged: Annotated[
        int | None,
        Meta(
            description="The offset in the user's channel up to which it has received everything; null where no "
            "inbox is kept for it."
        ),
    ]


class UserPresence(Struct, frozen=True):
    """Whether a user is online, or when that last was."""

    user_id: str
    online: bool
    last_seen: _Seen | None
    devices: Annotated[
        list[DeviceEntry],
        Meta(description="Connected ones, and those that the user's inbox knows, by name."),
    ]


class KeptPublication(Struct, frozen=True, omit_defaults=True):
    """A publication that a channel keeps."""

    type: Annotated[str, Meta(description="The event's name.")]
    channel: str
    offset: _Offset
    timestamp: Annotated[str, Meta(description="When it was accepted: ISO 8601 in UTC, with milliseconds.")]
    # The payload as it was published, not decoded on the way.
    data: Annotated[Any, Meta(description="The payload.", extra_json_schema={"type": "object"})]
    user_id: Annotated[str | None, Meta(description="Whose event it is, in a user's own channel.")] = None


class ChannelHistory(Struct, frozen=True):
    """What a channel keeps, oldest first."""

    channel: str
    publications: list[KeptPublication]
    epoch: _Epoch
    offset: Annotated[
        int,
        Meta(
            ge=0,
            description="Of the channel's last publication: there is more where the list ends before it.",
        ),
    ]
    complete: Annotated[
        bool,
        Meta(
            description="Whether the list begins right after the position asked for. If not, what lies between is "
            "kept no longer, or the position is of another life of the channel."
        ),
    ]


class ClearedHistory(Struct, frozen=True):
    """Nothing of what was published before is kept any more; the channel goes on from here."""

    channel: str
    epoch: _Epoch
    offset: _Offset


_Id = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_ID_CHARS,
        description="As the token's `jti` or `sid` says it.",
        examples=["2bXn0mFo5Yk"],
    ),
]


class RevokeTokens(Struct, frozen=True, forbid_unknown_fields=True):
    """Which tokens are accepted no longer: exactly one of the three ids says so."""

    token_id: _Id | UnsetType = UNSET
    """One token: its `jti`."""
    session_id: _Id | UnsetType = UNSET
    """The tokens of one login: its `sid`."""
    user_id: UserId | UnsetType = UNSET
    """The tokens of a user."""
    issued_before: (
        Annotated[
            float,
            Meta(
                ge=0,
                le=NO_END,
                description="Unix seconds: tokens issued then or later are spared, by their `auth_time` or "
                "`iat`; those that have neither are not. Without it a token or a login is revoked for good, and "
                "of a user's tokens those that exist now: whose issuer may be ahead by `auth.leeway`, so that "
                "new ones are accepted from `accepted_from` on. Give the issuer's own time to have them accepted "
                "at once.",
            ),
        ]
        | UnsetType
    ) = UNSET
    expires_at: (
        Annotated[
            int,
            Meta(
                ge=0,
                le=NO_END,
                description="Unix seconds at which the last of these tokens ends, where that is known; not past. "
                "The revocation is forgotten a day after. Without it, it is kept for `auth.max_ttl`: too short "
                "for tokens without `iat` that live longer than that.",
            ),
        ]
        | UnsetType
    ) = UNSET


class RevokedTokens(Struct, frozen=True):
    """They are accepted nowhere any more."""

    closed: Annotated[int, Meta(ge=0, description="Connections of the answering server that were closed.")]
    accepted_from: Annotated[
        int | None,
        Meta(
            description="The Unix second from which on new tokens are accepted, whoever issues them, by their "
            "`auth_time` or `iat`; earlier revocations are counted in. The server's own are accepted at once. null "
            "where none ever is."
        ),
    ]
