"""Where the client stands in each channel, and what it has missed. Pure: no waiting, no clock."""

from collections.abc import Mapping

import msgspec

from tidings.client.publications import Gap, Recovered
from tidings.protocol.positions import Position


class Seen(msgspec.Struct, frozen=True):
    """The last publication of a channel that was handed over, or the position that the server told."""

    epoch: str | None
    """None until the server has told it: publications alone do not."""
    offset: int
    given: bool = False
    """Whether the application brought it along, and the server has not been asked about it yet."""


class Positions:
    """The last position of each channel."""

    def __init__(self, given: Mapping[str, Position] | None = None) -> None:
        """Begin at positions that an earlier client stood at."""
        self._seen = {
            channel: Seen(position.epoch, position.offset, given=True)
            for channel, position in (given or {}).items()
        }

    @property
    def channels(self) -> list[str]:
        """The channels of which anything was heard."""
        return [channel for channel, seen in self._seen.items() if not seen.given]

    @property
    def known(self) -> list[str]:
        """The channels that have a position, also those of which nothing was heard yet."""
        return list(self._seen)

    def is_given(self, channel: str) -> bool:
        """Whether all that is known of a channel is what the application brought along."""
        seen = self._seen.get(channel)
        return seen is not None and seen.given

    def since(self, channel: str) -> Position | None:
        """The position to go on from; None where there is none, or its epoch was never told."""
        seen = self._seen.get(channel)
        return None if seen is None or seen.epoch is None else Position(seen.epoch, seen.offset)

    def epoch(self, channel: str) -> str | None:
        """The epoch a channel is in, as far as it is known."""
        seen = self._seen.get(channel)
        return None if seen is None else seen.epoch

    def forget(self, channel: str) -> None:
        """Nothing more is heard of a channel, so that nothing of it can be missed."""
        self._seen.pop(channel, None)

    def told(self, channel: str, epoch: str, offset: int, *, first: int | None = None) -> Gap | None:
        """The server told where a channel stands, and sends nothing of before: what was missed before `first`.

        `first` is the offset of the next publication that will be handed over, where that lies before
        the position told; else it is the one after it.
        """
        upcoming = offset + 1 if first is None else min(first, offset + 1)
        last = self._seen.get(channel)
        self._seen[channel] = Seen(epoch, upcoming - 1)
        if last is None:
            return None
        behind = upcoming <= last.offset
        # [1, 2, 3] was heard, the state was lost, and 5 stands there now: 4 is not what was missed. And what
        # an application brings along may be ahead of all that there ever was.
        if (behind if last.epoch is None else last.epoch != epoch) or (last.given and offset < last.offset):
            return Gap(channel, last.offset + 1, None, epoch, last.epoch)
        if behind:
            # Handed over already: `passes` keeps what comes again out.
            self._seen[channel] = Seen(epoch, last.offset)
            return None
        return self._missing(channel, last.offset, upcoming, epoch)

    def follows(self, channel: str, epoch: str, offset: int) -> Recovered | None:
        """The server told that everything after our position, up to `offset`, follows: what that is.

        None where it cannot: it was not our position that the server answered to.
        """
        last = self._seen.get(channel)
        if last is None or last.epoch != epoch or last.offset > offset:
            return None
        self._seen[channel] = Seen(epoch, last.offset)
        return Recovered(channel, last.offset + 1, offset)

    def attached(self, channel: str, epoch: str, offset: int) -> Gap | None:
        """The server sends an inbox from `offset` on, which this device has acknowledged: what was missed.

        What we have and have not acknowledged comes again, and `passes` keeps it out. What somebody else has
        acknowledged in this device's name, and we do not have, never comes.
        """
        last = self._seen.get(channel)
        if last is None:
            self._seen[channel] = Seen(epoch, offset)
            return None
        if last.epoch is not None and last.epoch != epoch:
            self._seen[channel] = Seen(epoch, offset)
            return Gap(channel, last.offset + 1, None, epoch, last.epoch)
        self._seen[channel] = Seen(epoch, max(offset, last.offset))
        return self._missing(channel, last.offset, offset + 1, epoch)

    def moved(self, channel: str, epoch: str, offset: int) -> Gap | None:
        """The channel stands here, and what lies between was not for us, or is of another epoch: then a gap."""
        last = self._seen.get(channel)
        if last is not None and (offset < last.offset if last.epoch is None else last.epoch != epoch):
            self._seen[channel] = Seen(epoch, offset)
            return Gap(channel, last.offset + 1, None, epoch, last.epoch)
        self._seen[channel] = Seen(epoch, offset if last is None else max(offset, last.offset))
        return None

    def passes(self, channel: str, offset: int, epoch: str | None = None) -> tuple[bool, Gap | None]:
        """Whether a publication is new, and what was missed before it; it counts as handed over."""
        last = self._seen.get(channel)
        known = epoch if epoch is not None else None if last is None else last.epoch
        if last is None:
            self._seen[channel] = Seen(known, offset)
            return True, None
        if offset <= last.offset if last.epoch is None else known != last.epoch:
            self._seen[channel] = Seen(known, offset)
            return True, Gap(channel, last.offset + 1, None, known, last.epoch)
        if offset <= last.offset:
            return False, None
        self._seen[channel] = Seen(known, offset)
        return True, self._missing(channel, last.offset, offset, known)

    def skipped(self, channel: str, offset: int) -> Gap | None:
        """Everything up to `offset` came and was not handed over."""
        last = self._seen.get(channel)
        if last is None:
            return None
        self._seen[channel] = Seen(last.epoch, max(offset, last.offset))
        return self._missing(channel, last.offset, offset + 1, last.epoch)

    @staticmethod
    def _missing(channel: str, last: int, upcoming: int, epoch: str | None) -> Gap | None:
        return Gap(channel, last + 1, upcoming - 1, epoch, epoch) if upcoming > last + 1 else None


def check_positions(given: Mapping[str, object] | None) -> dict[str, Position]:
    """Positions that an application brings along. Raises ValueError for one that cannot be one."""
    checked: dict[str, Position] = {}
    for channel, position in (given or {}).items():
        if not isinstance(position, Position):
            kind = type(position).__name__
            raise ValueError(f"positions: {channel}: expected a Position, got {kind}")  # noqa: TRY004  one kind of error
        if position.offset < 0 or not position.epoch:
            raise ValueError(
                f"positions: {channel}: {position}: expected an epoch, and an offset of 0 or more"
            )
        checked[channel] = position
    return checked
