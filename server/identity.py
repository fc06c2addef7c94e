"""Who a connection is."""

from typing import Literal

import msgspec


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
    channels: dict[str, ChannelGrant] = {}
    """Grants by channel name; `room:*` grants every channel of a kind."""

    @property
    def is_admin(self) -> bool:
        """Whether this identity may do what only operators may."""
        return "admin" in self.roles
