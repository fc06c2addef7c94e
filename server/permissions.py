"""Who may subscribe and publish where."""

from typing import Protocol

from tidings.protocol.channels import ALL, group_channel, role_channel, user_channel
from tidings.server.identity import Identity
from tidings.server.policies import Policies


class RoomRules(Protocol):
    """What an app decides of rooms, by name. Asked in every step that lets somebody in, so it must not wait."""

    def may_enter(self, identity: Identity, room: str) -> bool | None:
        """Whether somebody may hear what is said there; None to leave it to the server's rules and the token."""

    def may_speak(self, identity: Identity, room: str) -> bool | None:
        """Whether somebody who is in may publish there; None to leave it to the server's rules and the token."""


class Permissions:
    """The policy for channels: what everybody may do, and what a token's `channels` grants add to it.

    Takes channel names that the grammar has accepted (`tidings.protocol.channels`). Compares whole strings
    after the first colon and never prefixes or patterns: the user `1` has nothing of `user:1:2`, nor `a` of
    `room:a:b`.

    With `rooms_open` anybody may enter any room; without it a room needs a grant, as `room:lobby` or
    `room:*`.
    """

    def __init__(self, policies: Policies | None = None, *, rooms_open: bool = True) -> None:
        self._policies = policies or Policies()
        self._rooms_open = rooms_open
        self.rooms: RoomRules | None = None
        """What an app says of rooms, before all but an administrator's rights; set before the server runs."""

    def may_subscribe(self, identity: Identity, channel: str) -> bool:
        """Whether `identity` may receive what is published to `channel`."""
        return (
            identity.is_admin
            or self._is_own_or_open(identity, channel)
            or _granted(identity, channel, "subscribe")
        )

    def may_publish(self, identity: Identity, channel: str, *, subscribed: bool = False) -> bool:
        """Whether `identity` may publish to `channel`: an administrator, by grant, or by the channel's policy.

        Unless the policy says otherwise, neither a user's own channel nor an open room is enough: subscribers
        take what comes there for the server's word. What members say to a room goes through `room_message`,
        which names its sender. `subscribed`: whether the connection that asks is subscribed to the channel.
        """
        if identity.is_admin:
            return True
        match self._policies.of(channel).publish:
            case "nobody":
                return False
            case "anyone":
                return True
            case "subscribers" if subscribed:
                return True
            case _:
                return _granted(identity, channel, "publish")

    def may_see_server_statistics(self, identity: Identity) -> bool:
        """Whether `identity` may see the numbers of the whole server, beyond its own connection's."""
        return identity.is_admin

    def _is_own_or_open(self, identity: Identity, channel: str) -> bool:
        kind, _, name = channel.partition(":")
        match kind:
            case "user":
                return name == identity.user_id
            case "group":
                return name == identity.group_id
            case "role":
                return name in identity.roles
            case "room":
                return self._rooms_open and name != ""
            case _:
                return channel == ALL


def _granted(identity: Identity, channel: str, verb: str) -> bool:
    kind, colon, _ = channel.partition(":")
    # Grants only add: either of the two is enough.
    for name in (channel, f"{kind}:*" if colon else channel):
        grant = identity.channels.get(name)
        if grant is not None and (grant.publish if verb == "publish" else grant.subscribe):
            return True
    return False


def automatic_channels(identity: Identity) -> tuple[str, ...]:
    """The channels everybody is subscribed to by being connected: what concerns them, and `all`."""
    names = [user_channel(identity.user_id)]
    if identity.group_id is not None:
        names.append(group_channel(identity.group_id))
    names.extend(role_channel(role) for role in sorted(identity.roles))
    return (*names, ALL)
