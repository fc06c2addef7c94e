"""Who may subscribe and publish where."""

from typing import Final, Protocol

from tidings.protocol.channels import ALL, group_channel, role_channel, room_channel, user_channel
from tidings.server.identity import Identity
from tidings.server.policies import Policies

#: The room that front ends of document S2 enter to say that they want notifications: everybody may, and only
#: administrators speak there. What a user is notified of comes by the inbox, whether or not it is entered.
NOTICES: Final = room_channel("notifications")

_ROOM: Final = room_channel("")


class RoomRules(Protocol):
    """What an app says of rooms, by name. Asked in every step that lets somebody in, it neither waits nor raises.

    Administrators are not asked about. When an answer changes from yes to no, the app takes out who is in, in the
    same step (`push.expel`): nobody asks again for connections that are subscribed.
    """

    def may_enter(self, identity: Identity, room: str) -> bool | None:
        """Whether somebody may hear what is said there; None to leave it to the server's rules and the token."""

    def may_speak(self, identity: Identity, room: str) -> bool | None:
        """Whether somebody may say something there; None to leave it to the server's rules and the token.

        False stands before any grant. True is for what the app says in the speaker's name: to `publish` whatever
        one likes takes a policy or a grant in this room as in others.
        """


class Permissions:
    """The policy for channels: what everybody may do, and what a token's `channels` grants add to it.

    Takes channel names that the grammar has accepted (`tidings.protocol.channels`). Compares whole strings
    after the first colon and never prefixes or patterns: the user `1` has nothing of `user:1:2`, nor `a` of
    `room:a:b`.

    With `rooms_open` anybody may enter any room; without it a room needs a grant, as `room:lobby` or
    `room:*`. Of rooms that an app keeps, the app says who may enter and speak, whatever else holds.
    """

    def __init__(self, policies: Policies | None = None, *, rooms_open: bool = True) -> None:
        self._policies = policies or Policies()
        self._rooms_open = rooms_open
        self.rooms: RoomRules | None = None
        """What an app says of rooms, before all but an administrator's rights; set before the server runs."""

    def may_subscribe(self, identity: Identity, channel: str) -> bool:
        """Whether `identity` may receive what is published to `channel`."""
        if identity.is_admin:
            return True
        room = channel.removeprefix(_ROOM)
        if self.rooms is not None and room != channel:
            said = self.rooms.may_enter(identity, room)
            if said is not None:
                return said
        return self._is_own_or_open(identity, channel) or _granted(identity, channel, "subscribe")

    def may_publish(self, identity: Identity, channel: str, *, subscribed: bool = False) -> bool:
        """Whether `identity` may publish to `channel`: an administrator, by grant, or by the channel's policy.

        Unless the policy says otherwise, neither a user's own channel nor an open room is enough: subscribers
        take what comes there for the server's word. What members say to a room goes through `room_message`,
        which names its sender. `subscribed`: whether the connection that asks is subscribed to the channel.
        """
        if identity.is_admin:
            return True
        if channel == NOTICES:
            return False
        rules, room = self.rooms, channel.removeprefix(_ROOM)
        if rules is not None and room != channel and rules.may_speak(identity, room) is False:
            return False
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
                return (self._rooms_open and name != "") or channel == NOTICES
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
