"""What the routes take and answer. Field names are the documents' where a document shows them."""

from typing import Annotated

from msgspec import UNSET, Meta, Struct, UnsetType

from tidings.protocol.channels import NAME
from tidings.protocol.messages.fields import DEVICE_CHARS, EXPECTED, DeviceName

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
# So that forms which are made from the description do not show what is typed.
_SECRET = {"format": "password"}
_Password = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=_PASSWORD_CHARS,
        examples=["brass otter 41 lighthouse"],
        extra_json_schema=_SECRET,
    ),
]
_NewPassword = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=_PASSWORD_CHARS,
        description="At most 1,024 bytes, and hard to guess, also for whoever knows the name and the address: what "
        "is too short or too easy is refused, with the cure.",
        examples=["seven quiet harbours 90"],
        extra_json_schema=_SECRET,
    ),
]
_Email = Annotated[
    str,
    Meta(
        min_length=3,
        max_length=_EMAIL_CHARS,
        description="An @ with something on either side; no spaces, and nothing invisible.",
        examples=["alice@example.org"],
        # Said, and left to the service to check: of an address it says what is wrong in words.
        extra_json_schema={"pattern": "^[^@]+@[^@]+$"},
    ),
]
_ROLE = r"\A[A-Za-z0-9_.:-]{1,64}\Z"
EXPECTED[_ROLE] = "a role: 1 to 64 characters A-Z a-z 0-9 _ . : -"
_Role = Annotated[str, Meta(pattern=_ROLE, examples=["admin"])]
_Roles = Annotated[tuple[_Role, ...], Meta(max_length=_MOST_ROLES)]
_GROUP = rf"\A{NAME}\Z"
EXPECTED[_GROUP] = "a group: 1 to 128 characters A-Z a-z 0-9 _ . : -"
_GroupId = Annotated[str, Meta(pattern=_GROUP, examples=["7"])]
_UserId = Annotated[
    str, Meta(description="It stays, also when the name changes.", examples=["3f9c0d5e7a1b2c48"])
]
_Temporary = Annotated[
    str,
    Meta(
        description="To be told to the user, who should change it: it ends by itself.",
        examples=["k7mw-q2xv-9hdp-t4zc"],
    ),
]
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

    id: _UserId
    username: Annotated[str, Meta(examples=["alice"])]
    email: Annotated[str | None, Meta(examples=["alice@example.org"])]
    roles: Annotated[list[str], Meta(examples=[["admin"]])]
    group_id: Annotated[
        str | None, Meta(description="The one group of the user; null for none.", examples=["7"])
    ]
    created_at: _Moment
    updated_at: _Moment
    last_login_at: _Moment | None
    must_change_password: Annotated[
        bool, Meta(description="Whether the password is a temporary one, which ends by itself.")
    ]


class Session(Struct, frozen=True):
    """A login, and its token."""

    token: Annotated[str, Meta(description="For `Authorization: Bearer`, or `?token=` of a WebSocket.")]
    expires_at: Annotated[
        int, Meta(description="Unix seconds. POST /api/auth/refresh before then.", examples=[1795435051])
    ]
    user: UserEntry


class LoggedOut(Struct, frozen=True):
    """The login has ended: no token of it is accepted any more."""

    closed: Annotated[int, Meta(ge=0, description="Connections of it that were closed.")]


class Valid(Struct, frozen=True):
    """The token is good."""

    valid: bool
    user_id: _UserId
    username: Annotated[str, Meta(examples=["alice"])]
    expires_at: Annotated[int, Meta(description="Unix seconds.", examples=[1795435051])]


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
    group_id: (
        Annotated[
            _GroupId | None,
            Meta(
                description="null takes it away. Another group than before, or none, ends the user's logins, whose "
                "tokens say the old one; a first one counts from the next token on."
            ),
        ]
        | UnsetType
    ) = UNSET


class ChangePassword(Struct, frozen=True, forbid_unknown_fields=True):
    """A user's own new password."""

    old_password: _Password
    new_password: _NewPassword


class PasswordChanged(Struct, frozen=True):
    """It is changed, and the user's other logins have ended."""

    changed: bool


class CreateUser(Struct, frozen=True, forbid_unknown_fields=True):
    """A new user."""

    username: _Username
    password: (
        Annotated[_NewPassword, Meta(description="As a user's own; without one a temporary one is made.")]
        | UnsetType
    ) = UNSET
    email: _Email | None = None
    roles: _Roles = ()
    group_id: (
        Annotated[
            _GroupId,
            Meta(
                description="Whose channel, `group:<id>`, the user's connections hear. It need not exist anywhere."
            ),
        ]
        | None
    ) = None


class Created(Struct, frozen=True):
    """The new user."""

    user: UserEntry
    temporary_password: Annotated[
        _Temporary | None, Meta(description="To be told to the user; null where a password was given.")
    ]


class PasswordReset(Struct, frozen=True):
    """The user has another password, and is logged out everywhere."""

    temporary_password: _Temporary


class Deleted(Struct, frozen=True):
    """The user is gone."""

    id: _UserId
    username: Annotated[str, Meta(examples=["alice"])]


class UserPage(Struct, frozen=True):
    """Some users, by name."""

    users: list[UserEntry]
    next: Annotated[
        str | None, Meta(description="Give it as `after` for the next page; null on the last one.")
    ]
    total: Annotated[int, Meta(ge=0, description="Users that match, on all pages.")]
