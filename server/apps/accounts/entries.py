"""Users as the routes tell them."""

from tidings.protocol.publications import iso_milliseconds
from tidings.server.apps.accounts.bodies import UserEntry
from tidings.server.apps.accounts.users import User


def entry(user: User) -> UserEntry:
    """What may be told of a user: everything but what secrets are kept by."""
    return UserEntry(
        id=user.id,
        username=user.username,
        email=user.email,
        roles=list(user.roles),
        group_id=user.group_id,
        created_at=iso_milliseconds(user.created_ms),
        updated_at=iso_milliseconds(user.updated_ms),
        last_login_at=None if user.logged_in_ms is None else iso_milliseconds(user.logged_in_ms),
        must_change_password=user.password_until_ms is not None,
    )
