"""Who a connection is."""

from typing import Final, Literal

import msgspec

#: When an API key ends: never. The last second of the year 9999, beyond what any token may claim.
NO_END: Final = 253_402_300_799


class ChannelGrant(msgspec.Struct, frozen=True):
    """What a token's `channels` claim allows on one channel, beyond what everybody may do."""

    subscribe: bool = True
    publish: bool = False


class Identity(msgspec.Struct, frozen=True):
    """Who a connection is, as its token says; changes only by a refresh of the same user's token."""

    user_id: str
    username: str
    expires_at: int
    """Unix seconds at which the token ends; the connection ends with it unless it is refreshed."""
    roles: frozenset[str] = frozenset()
    kind: Literal["user", "device", "service"] = "user"
    group_id: str | None = None
    token_id: str | None = None
    """The token's `jti`, by which one token can be revoked."""
    session_id: str | None = None
    """The login (`sid`): a refresh keeps it, so browser tabs of one login are one login."""
    issued_at: int = 0
    """Whole Unix seconds at which the token was issued (`iat`); 0 where it does not say."""
    logged_in_ms: int = 0
    """Unix milliseconds of the login: the token's `auth_time`, which a refresh keeps, else its `iat`; else 0."""
    login_is_exact: bool = False
    """Whether the token tells `logged_in_ms` with a fraction; else it is the beginning of its second."""
    login_number: int | None = None
    """Which of the user's logins it is (the claim `login_number`), where this server has made it."""
    device: str = ""
    """What the login calls its device (the claim `inbox_device`), for connections that do not say; mostly empty."""
    channels: dict[str, ChannelGrant] = {}
    """Grants by channel name; `room:*` grants every channel of a kind."""

    @property
    def is_admin(self) -> bool:
        """Whether this identity may do what only operators may."""
        return "admin" in self.roles
