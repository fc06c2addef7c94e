"""What the routes take and answer, and what a notification may be. Field names shown in the document are its own.

Unknown fields are refused, as elsewhere: a misspelt `link` would be lost without a word.
"""

from typing import Annotated, Any, Final

from msgspec import UNSET, Meta, Struct, UnsetType

from tidings.protocol.messages.fields import EXPECTED, EventName, IdempotencyKey

# A line, as a list shows it.
TITLE_CHARS: Final = 200
# A page. Whoever has more to say puts a link to it: a user's 1,000 notifications are 4 MB at worst.
MESSAGE_CHARS: Final = 4000
# As browsers and proxies have URLs.
LINK_CHARS: Final = 2048

# Control characters are in nobody's text on purpose, a terminal may obey them, and PostgreSQL keeps no NUL. Tabs
# and line breaks are in a message, where they mean something.
_NONE_IN_LINE: Final = r"\x00-\x1f\x7f-\x9f"
_NONE_IN_PAGE: Final = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f"


def _text_without(these: str) -> str:
    r"""A pattern: white space, something that is none, whatever follows.

    No part can take what the next one begins with, so that it is matched in one pass. Not `(?=…\S)`: the
    description of the API shows it, and not every language looks ahead.
    """
    return rf"\A[^\S{these}]*[^\s{these}][^{these}]*\Z"


_TITLE: Final = _text_without(_NONE_IN_LINE)
_MESSAGE: Final = _text_without(_NONE_IN_PAGE)
_KIND: Final = r"\A[a-z][a-z0-9_]{0,31}\Z"
_LINK: Final = rf"\A[^\x00-\x1f\x7f-\x9f]{{1,{LINK_CHARS}}}\Z"
# 18 digits are below what 64 bits hold; a server that makes a million a second needs 30,000 years for them.
NOTE_ID: Final = "[1-9][0-9]{0,17}"
_NOTE_ID: Final = rf"\A{NOTE_ID}\Z"

EXPECTED[_TITLE] = "a title: not only white space, no control characters"
EXPECTED[_MESSAGE] = "a message: not only white space, no control characters but tabs and line breaks"
EXPECTED[_KIND] = "a type: 1 to 32 characters a-z 0-9 _, a letter first"
EXPECTED[_LINK] = f"1 to {LINK_CHARS:,} characters, no control characters"
EXPECTED[_NOTE_ID] = "the id of a notification: digits, as the list has it"

_Title = Annotated[
    str,
    Meta(
        pattern=_TITLE,
        max_length=TITLE_CHARS,
        description="One line, not blank. Text: HTML in it is text, too.",
        examples=["新消息"],
    ),
]
_Message = Annotated[
    str,
    Meta(
        pattern=_MESSAGE,
        max_length=MESSAGE_CHARS,
        description="Text of several lines, perhaps, and not blank: HTML in it is text, too.",
        examples=["您有一条新的通知"],
    ),
]
_Kind = Annotated[
    str,
    Meta(
        pattern=_KIND,
        description="What front ends choose a colour by, as info, success, warning or error.",
        examples=["info"],
    ),
]
_Icon = Annotated[
    str,
    Meta(
        pattern=_LINK, description="A name, an emoji or an address, as front ends agree.", examples=["bell"]
    ),
]
_Link = Annotated[
    str,
    Meta(
        pattern=_LINK,
        description="Where a click leads. What would run in the reader's page (`javascript:`, `data:`, "
        "`vbscript:`) is refused.",
        examples=["/articles/42"],
    ),
]
NoteId = Annotated[str, Meta(pattern=_NOTE_ID, examples=["17"])]
_Unread = Annotated[int, Meta(ge=0, description="Notifications that the user has not read.")]
_Moment = Annotated[str, Meta(description="ISO 8601 in UTC.", examples=["2026-11-21T20:10:00.123Z"])]


class NewNotification(Struct, frozen=True, forbid_unknown_fields=True):
    """Something to show to one user."""

    title: _Title
    message: _Message
    type: _Kind = "info"
    icon: _Icon | None = None
    link: _Link | None = None


class NotificationToSend(NewNotification, frozen=True, forbid_unknown_fields=True):
    """A notification, as a back end sends it, and perhaps sends it again."""

    idempotency_key: (
        Annotated[
            IdempotencyKey,
            Meta(
                description="Chosen by the back end, once for each notification of a user. With the same key "
                "nothing more is made, and the answer is the one that was, as long as that is in the user's list.",
                examples=["order-7-shipped"],
            ),
        ]
        | None
    ) = None

    @property
    def shown(self) -> NewNotification:
        """What its user gets."""
        return NewNotification(self.title, self.message, self.type, self.icon, self.link)


class NotificationEntry(Struct, frozen=True):
    """A notification as the user's list has it."""

    id: Annotated[str, Meta(description="Also in the event that was pushed.", examples=["17"])]
    title: str
    message: str
    type: str
    created_at: _Moment
    icon: str | UnsetType = UNSET
    link: str | UnsetType = UNSET
    read_at: Annotated[_Moment, Meta(description="Absent until it is read.")] | UnsetType = UNSET


class NotificationPage(Struct, frozen=True):
    """Some of the caller's notifications, newest first."""

    notifications: list[NotificationEntry]
    unread: _Unread
    next: Annotated[
        str | None, Meta(description="Give it as `before` for the next page; null on the last one.")
    ]


class UnreadNotifications(Struct, frozen=True):
    """What the event `unread_count` says after each change."""

    unread: _Unread


class ReadUpTo(Struct, frozen=True, forbid_unknown_fields=True):
    """What the user has seen."""

    up_to: (
        Annotated[
            NoteId,
            Meta(description="The newest that the user has seen; without it all are marked."),
        ]
        | UnsetType
    ) = UNSET


class ChangedNotifications(Struct, frozen=True):
    """What became of the caller's notifications."""

    changed: Annotated[int, Meta(ge=0, description="How many were marked, or deleted.")]
    unread: _Unread


class SystemBroadcast(Struct, frozen=True, forbid_unknown_fields=True):
    """A message of the document's shape, for everybody."""

    data: Annotated[
        dict[str, Any],
        Meta(
            description="What it says. A built-in event's must fit it: of a system message, `message` and `level`.",
            examples=[{"message": "Maintenance at 22:00", "level": "warning"}],
        ),
    ]
    type: Annotated[
        EventName, Meta(description="The `type` of the message.", examples=["system_message"])
    ] = "system_message"
    timestamp: Annotated[
        Any,
        Meta(description="May stand there, as in the document, and is not looked at: the server dates it."),
    ] = None
    user_id: Annotated[
        Any,
        Meta(description="May stand there, too, and is not looked at: it goes to everybody all the same."),
    ] = None


class SentMessage(Struct, frozen=True, omit_defaults=True):
    """It has its place in the channel's order."""

    channel: str
    epoch: Annotated[str, Meta(description="Changes when offsets begin anew.")]
    offset: Annotated[int, Meta(ge=0, description="Rises by one with each message of the channel.")]
    durability: Annotated[
        str,
        Meta(description="`memory` ends with the server's process, `disk` was synced before this answer."),
    ]
    dropped: Annotated[
        int,
        Meta(
            ge=0, description="Told where it is not 0: older ones that a full inbox lost, unacknowledged."
        ),
    ] = 0


class ConnectionCounts(Struct, frozen=True):
    """What this server has at the moment."""

    connections: Annotated[int, Meta(ge=0)]
    users: Annotated[int, Meta(ge=0, description="Who have one or more.")]
    rooms: Annotated[int, Meta(ge=0, description="That somebody is in.")]


class ConnectionDetail(Struct, frozen=True):
    """One connection of a user."""

    connection_id: str
    username: str
    dialect: Annotated[str, Meta(description="The protocol that it speaks.", examples=["knowledge"])]
    connected_seconds: float
    channels: Annotated[list[str], Meta(description="What it is subscribed to.")]
    peer: (
        Annotated[
            str, Meta(description="The client's address; for administrators.", examples=["192.0.2.1"])
        ]
        | UnsetType
    ) = UNSET
    outbox_bytes: (
        Annotated[int, Meta(ge=0, description="Bytes that wait for it; for administrators.")] | UnsetType
    ) = UNSET


class ConnectionsOfUser(Struct, frozen=True):
    """A user's connections to this server, oldest first."""

    user_id: str
    connections: Annotated[int, Meta(ge=0)]
    details: list[ConnectionDetail]
