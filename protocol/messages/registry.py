"""Which message types exist, who claimed each name, and what its payload must look like.

The composition root fills one registry before the server starts; every dialect builds its tagged
unions from it, once. After that it does not change.
"""

from collections.abc import Mapping

import msgspec


class NameConflict(Exception):
    """Two owners claim one message name; the server must not start."""


class MessageType(msgspec.Struct, frozen=True):
    """One registered message."""

    name: str
    payload: type[msgspec.Struct]
    owner: str
    """The app that claimed the name."""
    open_fields: bool = False
    """Whether fields that the payload's Struct does not name are handed on to the handler."""


class Registry:
    """Message types by direction: commands come in; answers and events go out.

    A command and an event may share a name (`room_message` is both); an answer and an event may not,
    since a client could not tell a publication from the server's own word.
    """

    def __init__(self) -> None:
        self.commands: dict[str, MessageType] = {}
        self.answers: dict[str, MessageType] = {}
        self.events: dict[str, MessageType] = {}
        self.for_earlier_logins: set[str] = set()
        """Events that are not replayed to a login made after them."""
        self._reserved: dict[str, str] = {}

    def command(
        self, name: str, payload: type[msgspec.Struct], *, owner: str, open_fields: bool = False
    ) -> None:
        """Register what a client may send. Raises NameConflict when the name is taken."""
        self._claim((self.commands,), MessageType(name, payload, owner, open_fields))

    def answer(self, name: str, payload: type[msgspec.Struct], *, owner: str) -> None:
        """Register what the server says about the connection. Raises NameConflict."""
        self._claim((self.answers, self.events), MessageType(name, payload, owner), self._reserved)

    def reserve(self, *names: str, owner: str) -> None:
        """Keep names that only `owner` may ever say, of messages that it does not say yet."""
        self._reserved.update(dict.fromkeys(names, owner))

    def is_control(self, name: str) -> bool:
        """Whether nobody may publish under this name: a client takes it for the server's own word."""
        return name in self.answers or name in self._reserved

    def event(
        self, name: str, payload: type[msgspec.Struct], *, owner: str, earlier_logins: bool = False
    ) -> None:
        """Register what may be published, and its payload's shape. Raises NameConflict, for control names too.

        With `earlier_logins` it concerns only logins that are older than it is, and is not replayed to later ones.
        """
        self._claim((self.events, self.answers), MessageType(name, payload, owner), self._reserved)
        if earlier_logins:
            self.for_earlier_logins.add(name)

    @staticmethod
    def _claim(
        tables: tuple[dict[str, MessageType], ...],
        message: MessageType,
        reserved: Mapping[str, str] = {},
    ) -> None:
        owners = [table[message.name].owner for table in tables if message.name in table]
        if reserved.get(message.name, message.owner) != message.owner:
            owners.append(reserved[message.name])
        if owners:
            raise NameConflict(
                f"message type {message.name!r} is claimed by {owners[0]!r} and by {message.owner!r}: "
                "rename one of them"
            )
        tables[0][message.name] = message
