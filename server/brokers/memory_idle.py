"""The channels that nobody listens to, and which of them is forgotten first."""

from collections import OrderedDict

from tidings.server.brokers.memory_history import Channel


class IdleChannels:
    """At most so many inboxes that keep something, and so many others, bare positions among them.

    The longest unused is forgotten, and of those that keep something only when no bare one is left. First of all
    go those that nobody ever published to: who asks for the histories of invented channels shall not make the
    real ones lose their positions. And who fills ten thousand rooms shall not make absent users lose what waits
    for them.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._bare: OrderedDict[str, Channel] = OrderedDict()
        self._keeping: OrderedDict[str, Channel] = OrderedDict()
        self._inboxes: OrderedDict[str, Channel] = OrderedDict()
        """Those that keep something; bare ones are among the bare."""

    def __len__(self) -> int:
        """How many there are."""
        return len(self._bare) + len(self._keeping) + len(self._inboxes)

    def find(self, name: str) -> Channel | None:
        """A channel, if it is there; looking is no use."""
        return self._keeping.get(name) or self._bare.get(name) or self._inboxes.get(name)

    def take(self, name: str) -> Channel | None:
        """Take a channel out, if it is there."""
        return self._keeping.pop(name, None) or self._bare.pop(name, None) or self._inboxes.pop(name, None)

    def put(self, channel: Channel) -> Channel | None:
        """Put a channel in as the last used, and return the one that is forgotten for it, which may be itself."""
        while len(self._bare) + len(self._keeping) > self._most:
            # Inboxes became bare. They keep nothing, so that nobody has to hear of the one that goes.
            self._bare.popitem(last=False)
        if channel.is_bare:
            self._bare[channel.name] = channel
            if not channel.offset:
                self._bare.move_to_end(channel.name, last=False)
        elif channel.is_inbox:
            self._inboxes[channel.name] = channel
            return self._inboxes.popitem(last=False)[1] if len(self._inboxes) > self._most else None
        else:
            self._keeping[channel.name] = channel
        if len(self._bare) + len(self._keeping) <= self._most:
            return None
        return (self._bare or self._keeping).popitem(last=False)[1]

    def emptied(self, channel: Channel) -> None:
        """A channel, here or not, keeps no publication any more."""
        if not channel.is_bare:
            return
        name = channel.name
        if self._keeping.pop(name, None) is not None or self._inboxes.pop(name, None) is not None:
            # Ahead of the others: it was silent for as long as its history lived.
            self._bare[name] = channel
            self._bare.move_to_end(name, last=False)
