"""What the routes take and answer. Field names are the documents' where a document shows them."""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from tidings.protocol.messages.fields import DEVICE_CHARS, DeviceName

# Longer than any name that is accepted, so that what is wrong with one is said in its own words.
_NAME_CHARS = 256
_PASSWORD_CHARS = 1024
_EMAIL_CHARS = 254
_MOST_ROLES = 16

_Username = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=_NAME_CHARS,
        description="1 to 64 characters of one script, as RFC 8265 has names; upper and lower case, width and "
        "composition are not told apart.",
        examples=["alice"],
    ),
]
_Password = Annotated[
    str, Meta(min_length=1, max_length=_PASSWORD_CHARS, examples=["correct horse battery"])
]
_Email = Annotated[str, Meta(min_length=3, max_length=_EMAIL_CHARS, examples=["alice@example.org"])]
_Role = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_.:-]{1,64}\Z", examples=["admin"])]
_Roles = Annotated[tuple[_Role, ...], Meta(max_length=_MOST_ROLES)]
_Moment = Annotated[str, Meta(description="ISO 8601 in UTC.", examples=["2026-11-21T20:10:00.123Z"])]


class Login(Struct, frozen=True, forbid_unknown_fields=True):
    """Who wants to log in."""

    username: _Username
    password: _Password
    device: (
        Annotated[
            DeviceName,
            Meta(
                description=f"What the device is called, at most {DEVICE_CHARS} characters: its connections are "
                "its own as far as the inbox is concerned, without `?device=` in their URL."
            ),
        ]
        | None
    ) = None


class UserEntry(Struct, frozen=True):
    """A user."""

    id: str
    username: str
    email: str | None
    roles: list[str]
    created_at: _Moment
    updated_at: _Moment
    last_login_at: _Moment | None
    must_change_password: Annotated[
        bool, Meta(description="Whether the password is a temporary one, which ends by itself.")
    ]


class Session(Struct, frozen=True):
    """A login, and its token."""

    token: Annotated[str, Meta(description="For `Authorization: Bearer`, or `?token=` of a WebSocket.")]
    expires_at: Annotated[int, Meta(description="Unix seconds. POST /api/auth/refresh before then.")]
    user: UserEntry


class LoggedOut(Struct, frozen=True):
    """The login has ended: no token of it is accepted any more."""

    closed: Annotated[int, Meta(ge=0, description="Connections of it that were closed.")]


class Valid(Struct, frozen=True):
    """The token is good."""

    valid: bool
    user_id: str
    username: str
    expires_at: Annotated[int, Meta(description="Unix seconds.")]


class UpdateMe(Struct, frozen=True, forbid_unknown_fields=True):
    """What users may change of themselves; what is left out stays."""

    username: _Username | UnsetType = UNSET
    email: Annotated[_Email | None, Meta(description="null takes it away.")] | UnsetType = UNSET


class UpdateUser(UpdateMe, frozen=True, forbid_unknown_fields=True):
    """What administrators may change of a user; what is left out stays."""

    roles: (
        Annotated[
            _Roles,
            Meta(
                description="All of them. One that is taken away ends the user's logins, whose tokens say it."
            ),
        ]
        | UnsetType
    ) = UNSET


class ChangePassword(Struct, frozen=True, forbid_unknown_fields=True):
    """A user's own new password."""

    old_password: _Password
    new_password: _Password


class PasswordChanged(Struct, frozen=True):
    """It is changed, and the user's other logins have ended."""

    changed: bool


class CreateUser(Struct, frozen=True, forbid_unknown_fields=True):
    """A new user."""

    username: _Username
    password: Annotated[_Password, Meta(description="Without one a temporary one is made.")] | UnsetType = (
        UNSET
    )
    email: _Email | None = None
    roles: _Roles = ()


class Created(Struct, frozen=True):
    """The new user."""

    user: UserEntry
    temporary_password: Annotated[
        str | None, Meta(description="To be told to the user; null where a password was given.")
    ]


class PasswordReset(Struct, frozen=True):
    """The user has another password, and is logged out everywhere."""

    temporary_password: Annotated[
        str, Meta(description="To be told to the user, who should change it: it ends by itself.")
    ]


class Deleted(Struct, frozen=True):
    """The user is gone."""

    id: str
    username: str


class UserPage(Struct, frozen=True):
    """Some users, by name."""

    users: list[UserEntry]
    next: Annotated[
        str | None, Meta(description="Give it as `after` for the next page; null on the last one.")
    ]
    total: Annotated[int, Meta(ge=0, description="Users that match, on all pages.")]
