"""How far each device of an inbox has come. Pure: no clock, no broker."""

from typing import NamedTuple

from tidings.server.brokers.base import Device, TooManyDevices


class _Known(NamedTuple):
    acknowledged: int
    seen_ms: int


class Devices:
    """The devices of one inbox: at most `most` with a name, and the one without. Some 250 bytes each, with names.

    The one without a name stands for everybody who gives none, also for who only looks and never acknowledges.
    So it is enrolled by an acknowledgement alone, until which nothing is kept for it, and takes no device's place.
    """

    __slots__ = ("_age_ms", "_channel", "_known", "_most")

    def __init__(self, channel: str, *, most: int, age_ms: int) -> None:
        """Take how many there may be, and after how many milliseconds unseen one may be forgotten."""
        self._channel = channel
        self._most = most
        self._age_ms = age_ms
        self._known: dict[str, _Known] = {}

    def __len__(self) -> int:
        """How many are enrolled."""
        return len(self._known)

    @property
    def acknowledged_by_all(self) -> int:
        """The lowest position of any; 0 where there is none, since nobody has anything then."""
        return min((known.acknowledged for known in self._known.values()), default=0)

    def attach(self, name: str, *, first: int, now_ms: int) -> int:
        """See a device, and return its position; enrol it where it is new and has a name.

        `first` is the oldest offset kept: the first device starts before it. Raises TooManyDevices.
        """
        known = self._known.get(name)
        if known is not None:
            start = known.acknowledged
        else:
            if name:
                self._make_room(now_ms)
            start = max((other.acknowledged for other in self._known.values()), default=first - 1)
            if not name:
                return start
        self._known[name] = _Known(start, now_ms)
        return start

    def acknowledge(self, name: str, offset: int, *, head: int, now_ms: int) -> int:
        """Raise a device's position, at most to `head`, and return it.

        Enrols a new one. Raises TooManyDevices for one with a name.
        """
        known = self._known.get(name)
        if known is None and name:
            self._make_room(now_ms)
        reached = max(0 if known is None else known.acknowledged, min(offset, head))
        self._known[name] = _Known(reached, now_ms)
        return reached

    def seen(self, name: str, now_ms: int) -> None:
        """Note that a device was there until now."""
        known = self._known.get(name)
        if known is not None:
            self._known[name] = known._replace(seen_ms=now_ms)

    def listed(self) -> list[Device]:
        """All of them, by name."""
        return [Device(name, *known) for name, known in sorted(self._known.items())]

    def _make_room(self, now_ms: int) -> None:
        """Forget those that were away for too long; it is a new one that wants their place."""
        oldest_ms = now_ms - self._age_ms
        self._known = {name: known for name, known in self._known.items() if known.seen_ms >= oldest_ms}
        named = len(self._known) - ("" in self._known)
        if named >= self._most:
            raise TooManyDevices(
                f"{self._channel}: {named} devices are enrolled, as many as inbox.devices allows,"
                " and each was seen within inbox.device_age"
            )
